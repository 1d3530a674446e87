"""How a node splits: by a field, or each row by its own best item; tried two steps deep."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paceline.sql.order.forest import Forest, Node, Policy, Scratch, clear, count_items
from paceline.sql.order.kernels import compiled


@compiled
def choose(forest: Forest, scratch: Scratch, node: Node, policy: Policy) -> bool:
    """Leaves the split in ``best_pick``; False when the rows share nothing. Expects ``held`` and clears it."""
    use_groups = policy.use_groups
    scratch.scores[:] = 0.0
    for i in range(node.lo, node.hi):
        r = forest.rows[i]
        for p in range(node.depth, forest.live[r]):
            item = forest.items[r, p]
            scratch.scores[forest.fields[r, p]] += forest.weights[item] * (1.0 - 1.0 / scratch.held[item])
    led = -1
    for f in range(len(forest.loose)):
        if forest.loose[f] and scratch.scores[f] > 0.0:
            scratch.scores[f] = 0.0
            use_groups = True
        elif forest.rank[f] < policy.num_led and scratch.scores[f] > 0.0:
            led = f if led < 0 or forest.rank[f] < forest.rank[led] else led
    if led >= 0:
        _pick_by_column(forest, scratch, node, led)
        clear(forest, scratch.held, node)
        return _keep_better(forest, scratch, node, policy, -1.0, True) >= 0.0
    best, num_tried = -1.0, 0
    while num_tried < policy.num_columns and scratch.scores.max() > 0.0:
        f = int(scratch.scores.argmax())
        scratch.scores[f] = 0.0
        _pick_by_column(forest, scratch, node, f)
        alone = not use_groups and (policy.num_columns == 1 or scratch.scores.max() == 0.0)
        best = _keep_better(forest, scratch, node, policy, best, alone and num_tried == 0)
        num_tried += 1
    if use_groups and _pick_by_row(forest, scratch, node):
        best = _keep_better(forest, scratch, node, policy, best, num_tried == 0)
    clear(forest, scratch.held, node)
    return best >= 0.0


@compiled
def _pick_by_column(forest: Forest, scratch: Scratch, node: Node, field: int) -> None:
    for i in range(node.lo, node.hi):
        r = forest.rows[i]
        scratch.pick[i] = -1
        for p in range(node.depth, forest.live[r]):
            if forest.fields[r, p] == field:
                scratch.pick[i] = forest.items[r, p]
                break


@compiled
def _pick_by_row(forest: Forest, scratch: Scratch, node: Node) -> bool:
    """Each row joins its best item: first by all who have it, then twice by those who chose it; False when none can."""
    chosen = scratch.chosen
    count_items(forest, chosen, node)
    for turn in range(4):
        for i in range(node.lo, node.hi):
            if turn == 3 and scratch.pick[i] >= 0 and chosen[scratch.pick[i]] > 1:
                continue  # the last turn only finds a place for those whose group fell apart
            r = forest.rows[i]
            best, best_value = -1, -1.0
            for p in range(node.depth, forest.live[r]):
                item = forest.items[r, p]
                value = forest.weights[item] * (chosen[item] - 1)
                if chosen[item] > 1 and (value > best_value or (value == best_value and item < best)):
                    best, best_value = item, value
            scratch.pick[i] = best
        if turn < 3:
            clear(forest, chosen, node)
            for i in range(node.lo, node.hi):
                if scratch.pick[i] >= 0:
                    chosen[scratch.pick[i]] += 1
    some = False
    for i in range(node.lo, node.hi):
        some = some or scratch.pick[i] >= 0
    clear(forest, chosen, node)
    return some


@compiled
def _keep_better(forest: Forest, scratch: Scratch, node: Node, policy: Policy, best: float, unrivalled: bool) -> float:
    value: float = 0.0 if unrivalled else _two_steps(forest, scratch, node, policy)
    if value > best:
        scratch.best_pick[node.lo : node.hi] = scratch.pick[node.lo : node.hi]
        return value
    return best


@compiled
def _two_steps(forest: Forest, scratch: Scratch, node: Node, policy: Policy) -> float:
    """What the split in ``pick`` saves, and the best single field within each of its groups behind it."""
    num_groups = arrange(forest, scratch, node, scratch.pick)
    cuts, heads, num_rows = scratch.cuts, scratch.heads, node.hi - node.lo
    saved = 0.0
    for g in range(num_groups):
        saved += forest.weights[heads[g]] * (cuts[g + 1] - cuts[g] - 1)
    stride = 1 + num_rows // policy.reach
    promised, num_seen = 0.0, 0
    for g in range(0, num_groups, stride):
        promised += _promise(forest, scratch, node.depth, cuts[g], cuts[g + 1], heads[g], policy.optimism)
        num_seen += cuts[g + 1] - cuts[g]
    rest = _promise(forest, scratch, node.depth, cuts[num_groups], num_rows, -1, policy.optimism)
    value: float = saved + promised * (cuts[num_groups] / max(1, num_seen)) + rest
    return value


@compiled
def _promise(forest: Forest, scratch: Scratch, depth: int, lo: int, hi: int, head: int, optimism: float) -> float:
    """Savings of the best split by a field of the rows ``order[lo:hi]``, ``head`` apart."""
    below, second = scratch.below, scratch.second
    if hi - lo < 2:
        return 0.0
    for i in range(lo, hi):
        r = scratch.order[i]
        for p in range(depth, forest.live[r]):
            below[forest.items[r, p]] += 1
    second[:] = 0.0
    for i in range(lo, hi):
        r = scratch.order[i]
        for p in range(depth, forest.live[r]):
            item = forest.items[r, p]
            if item != head:
                second[forest.fields[r, p]] += forest.weights[item] * (1.0 - 1.0 / below[item])
    for i in range(lo, hi):
        r = scratch.order[i]
        for p in range(depth, forest.live[r]):
            below[forest.items[r, p]] = 0
    best, total = float(second.max()), float(second.sum())
    return total if hi - lo == 2 else best + optimism * (total - best)


@compiled
def arrange(forest: Forest, scratch: Scratch, node: Node, pick: NDArray[np.int32]) -> int:
    """Sorts the node's rows into ``order`` by what they picked, groups as they first appear; the number of groups."""
    chosen, next_place, order = scratch.chosen, scratch.below, scratch.order
    for i in range(node.lo, node.hi):
        if pick[i] >= 0:
            chosen[pick[i]] += 1
    num_groups, placed = 0, 0
    for i in range(node.lo, node.hi):
        item = pick[i]
        if item >= 0 and chosen[item] > 1:
            if next_place[item] == 0:
                scratch.cuts[num_groups], scratch.heads[num_groups] = placed, item
                next_place[item] = placed + 1
                placed += chosen[item]
                num_groups += 1
            order[next_place[item] - 1] = forest.rows[i]
            next_place[item] += 1
    scratch.cuts[num_groups] = placed
    for i in range(node.lo, node.hi):
        item = pick[i]
        if item < 0 or chosen[item] < 2:
            order[placed] = forest.rows[i]
            placed += 1
    for i in range(node.lo, node.hi):
        if pick[i] >= 0:
            chosen[pick[i]] = 0
            next_place[pick[i]] = 0
    return num_groups
