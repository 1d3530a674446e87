"""How a node splits: by a field, or each row by its own best item; tried two steps deep."""

from __future__ import annotations

from paceline.sql.order.forest import (
    CHOSEN,
    CUTS,
    FIELD,
    FIELD_BITS,
    HEADS,
    HELD,
    ORDER,
    PLACE,
    SEEN,
    Forest,
    Node,
    Policy,
    Scratch,
    begin,
)
from paceline.sql.order.kernels import inner

_SURE = 1.0 - 1e-12


@inner
def choose(forest: Forest, scratch: Scratch, node: Node, policy: Policy, held_since: int) -> tuple[int, int]:
    """The split (0 or 1 of ``splits``) and how many groups it has, none when the rows share nothing.

    Expects ``gains[0]`` and the counts of items since ``held_since``.
    """
    gains, use_groups, most = scratch.gains, policy.use_groups, 0.0
    for f in range(len(forest.loose)):
        most += gains[0, f]
        if forest.loose[f] and gains[0, f] > 0.0:
            gains[0, f] = 0.0
            use_groups = True
    led = policy.led if policy.led >= 0 and gains[0, policy.led] > 0.0 else -1
    best, kept, num_kept, num_tried, by_row = -1.0, 0, 0, 0, False
    while best < most * _SURE and not by_row:
        field, is_last = _take_best(forest, scratch, led) if num_tried < policy.num_columns else (-1, False)
        by_row = field < 0
        if by_row and not use_groups:
            break
        if by_row:
            _pick_by_row(forest, scratch, node, held_since)
        else:
            _pick_by_column(forest, scratch, node, field)
        num_groups = arrange(forest, scratch, node, 1 - kept)
        is_only = led >= 0 or (num_tried == 0 and (by_row or (not use_groups and (is_last or policy.num_columns == 1))))
        value = 0.0 if is_only else _two_steps(forest, scratch, node, policy, 1 - kept, num_groups)
        if num_groups > 0 and value > best:
            best, kept, num_kept = value, 1 - kept, num_groups
        if is_only:
            break
        num_tried += 1
    return kept, num_kept


@inner
def _take_best(forest: Forest, scratch: Scratch, led: int) -> tuple[int, bool]:
    """The field that saves most, -1 for none, and whether no other saves anything; its gain is set to nothing.

    Of fields that it determines the one of fewest values comes first: rows that share its value share theirs, so that
    costs nothing, and rows that are alone with it may share theirs.
    """
    gains, best, num_others = scratch.gains, -1, -1
    for f in range(len(forest.loose)):
        if gains[0, f] > 0.0:
            num_others += 1
            if best < 0 or gains[0, f] > gains[0, best]:
                best = f
    field = led if led >= 0 else best
    while field >= 0:
        best, field = field, -1
        for f in range(len(forest.loose)):
            fewest = forest.above[best, field] if field >= 0 else 0
            if gains[0, f] > 0.0 and forest.above[best, f] > fewest:
                field = f
    if best >= 0:
        gains[0, best] = 0.0
    return best, num_others == 0


@inner
def _pick_by_column(forest: Forest, scratch: Scratch, node: Node, field: int) -> None:
    guess = node.depth  # where the row before had it
    for i in range(node.lo, node.hi):
        r = forest.rows[i]
        scratch.pick[i] = -1
        if guess < forest.live[r] and forest.cells[r, guess] & FIELD == field:
            scratch.pick[i] = forest.cells[r, guess] >> FIELD_BITS
            continue
        for p in range(node.depth, forest.live[r]):
            if forest.cells[r, p] & FIELD == field:
                scratch.pick[i], guess = forest.cells[r, p] >> FIELD_BITS, p
                break


@inner
def _pick_by_row(forest: Forest, scratch: Scratch, node: Node, held_since: int) -> None:
    """Each row joins its best item: first by all who have it, then twice by those who chose it."""
    tally, since, counter = scratch.tally, held_since, HELD
    for turn in range(4):
        changed = turn == 0
        for i in range(node.lo, node.hi):
            if turn == 3 and scratch.pick[i] >= 0 and tally[scratch.pick[i], CHOSEN] - since > 1:
                continue  # the last turn only finds a place for those whose group fell apart
            r = forest.rows[i]
            best, best_value = -1, -1.0
            for p in range(node.depth, forest.live[r]):
                item = forest.cells[r, p] >> FIELD_BITS
                others = tally[item, counter] - since - 1
                if others > 0:
                    value = forest.weights[item] * others
                    if value > best_value or (value == best_value and item < best):
                        best, best_value = item, value
            changed = changed or scratch.pick[i] != best
            scratch.pick[i] = best
        if not changed:
            break
        if turn < 3:
            since, counter = _count_picks(scratch, node), CHOSEN


@inner
def _count_picks(scratch: Scratch, node: Node) -> int:
    """Since when ``tally`` counts the rows that choose an item."""
    tally, since = scratch.tally, begin(scratch, node.hi - node.lo)
    for i in range(node.lo, node.hi):
        item = scratch.pick[i]
        if item >= 0:
            tally[item, CHOSEN] = max(tally[item, CHOSEN], since) + 1
    return since


@inner
def arrange(forest: Forest, scratch: Scratch, node: Node, split: int) -> int:
    """Sorts the node's rows by what they picked, groups as they first appear; the number of groups."""
    tally, pick, splits = scratch.tally, scratch.pick, scratch.splits
    since = _count_picks(scratch, node)
    num_groups, placed = 0, 0
    for i in range(node.lo, node.hi):
        item = pick[i]
        if item >= 0 and tally[item, CHOSEN] - since > 1:
            place = tally[item, PLACE]
            if place < since:
                splits[split, CUTS, num_groups], splits[split, HEADS, num_groups] = placed, item
                place = since + placed
                placed += tally[item, CHOSEN] - since
                num_groups += 1
            splits[split, ORDER, place - since] = forest.rows[i]
            tally[item, PLACE] = place + 1
    splits[split, CUTS, num_groups], splits[split, HEADS, num_groups] = placed, -1
    splits[split, CUTS, num_groups + 1] = node.hi - node.lo
    for i in range(node.lo, node.hi):
        if pick[i] < 0 or tally[pick[i], CHOSEN] - since < 2:
            splits[split, ORDER, placed] = forest.rows[i]
            placed += 1
    return num_groups


@inner
def _two_steps(forest: Forest, scratch: Scratch, node: Node, policy: Policy, split: int, num_groups: int) -> float:
    """What a split saves, and the best single field within each of its groups behind it."""
    cuts, heads = scratch.splits[split, CUTS], scratch.splits[split, HEADS]
    saved = 0.0
    for g in range(num_groups):
        saved += forest.weights[heads[g]] * (cuts[g + 1] - cuts[g] - 1)
    stride = 1 + (node.hi - node.lo) // policy.reach
    for g in range(num_groups, -1, -stride):  # rows of no group stand behind the last one
        group = Node(cuts[g], cuts[g + 1], node.depth)
        promised = _promise(forest, scratch, group, split, heads[g], policy.optimism)
        saved += promised if g == num_groups else stride * promised
    return saved


@inner
def _promise(forest: Forest, scratch: Scratch, group: Node, split: int, head: int, optimism: float) -> float:
    """Savings of the best split by a field of a group, whose ``head`` is settled."""
    tally, gains = scratch.tally, scratch.gains
    if group.hi - group.lo < 2:
        return 0.0
    for f in range(gains.shape[1]):
        gains[1, f] = 0.0
    best, total = 0.0, 0.0
    now = begin(scratch, group.hi - group.lo)
    for i in range(group.lo, group.hi):
        r = scratch.splits[split, ORDER, i]
        for p in range(group.depth, forest.live[r]):
            cell = forest.cells[r, p]
            item = cell >> FIELD_BITS
            if tally[item, SEEN] == now:
                gains[1, cell & FIELD] += forest.weights[item]
                best, total = max(best, gains[1, cell & FIELD]), total + forest.weights[item]
            elif item != head:
                tally[item, SEEN] = now
    return total if group.hi - group.lo == 2 else best + optimism * (total - best)
