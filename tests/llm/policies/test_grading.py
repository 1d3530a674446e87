"""What a step brings to the histories of its requests."""

from __future__ import annotations

from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import DraftTree
from paceline.llm.load import StepLoad
from paceline.llm.policies.grading import Grading
from paceline.llm.speculation import Ask, Evidence, Proposal, StepResult, StepView

TREE = DraftTree.chain([5, 6, 7], [0.9, 0.8, 0.7])


def step_of(contexts: list[Context]) -> StepView:
    count = len(contexts)
    return StepView(contexts, [8] * count, StepLoad(count, 10, count), StepLoad(count, 10, count), count, 64, 0)


def result_of(proposals: list[Proposal], emitted: list[int], seconds: float = 0.01, **more: object) -> StepResult:
    return StepResult(seconds, [], proposals, more.get("evidence", []), more.get("verified", {}), emitted)  # type: ignore[arg-type]


def begun(grading: Grading, count: int) -> list[Context]:
    contexts = [Context([1, 1], 2) for _ in range(count)]
    for context in contexts:
        grading.begin(context)
    return contexts


def test_a_proposal_that_waits_is_graded_by_text_that_comes_later() -> None:
    grading = Grading(["lookup"])
    contexts = begun(grading, 1)
    contexts[0].tokens.append(5)
    asks = [Ask("lookup", (0,), 3)]
    grading.take(step_of(contexts), result_of([Proposal("lookup", 0, TREE)], [1]), asks)
    table = grading.grades[0].calibrations[0]
    assert sum(table.tries) == 0
    contexts[0].tokens += [6, 9, 9, 9]
    grading.settle(1, rested=True)
    assert (sum(table.hits), sum(table.tries)) == (2, 3)


def test_the_end_of_a_sequence_settles_what_waits() -> None:
    grading = Grading(["lookup"])
    contexts = begun(grading, 1)
    contexts[0].tokens.append(5)
    grading.take(step_of(contexts), result_of([Proposal("lookup", 0, TREE)], [1]), [Ask("lookup", (0,), 3)])
    grading.finish(contexts[0])
    assert sum(grading.grades[0].calibrations[0].hits) == 1
    assert not grading.histories
    grading.finish(contexts[0])


def test_those_asked_in_vain_count_as_missed() -> None:
    grading = Grading(["lookup", "heads"])
    contexts = begun(grading, 2)
    for context in contexts:
        context.tokens.append(9)
    asks = [Ask("lookup", (0, 1), 3), Ask("heads", (1,), 0)]
    evidence = [Evidence("heads", 1, 3, 4)]
    grading.take(step_of(contexts), result_of([Proposal("lookup", 1, TREE)], [1, 1], evidence=evidence), asks)
    assert sum(grading.grades[0].forecasts[0].tries) == 2
    assert sum(grading.grades[1].forecasts[0].tries) == 4
    assert [grading.histories[context].records[0].form for context in contexts] == [1, 1]
    assert grading.histories[contexts[1]].records[1].form == 0


def test_of_many_proposals_some_are_graded_in_full_in_turn() -> None:
    grading = Grading(["lookup"])
    contexts = begun(grading, 40)
    asks = [Ask("lookup", tuple(range(40)), 3)]
    for _ in range(5):
        for context in contexts:
            context.tokens += [5, 6, 9]
        proposals = [Proposal("lookup", member, TREE) for member in range(40)]
        verified = dict.fromkeys(range(40), TREE)
        grading.take(step_of(contexts), result_of(proposals, [3] * 40, 1e-4, verified=verified), asks)
    assert grading.grades[0].num_graded == 20
    assert all(history.records[0].form > 1 for history in grading.histories.values())


def test_rates_are_refreshed_when_there_is_reason() -> None:
    grading = Grading(["lookup"])
    assert not grading.refresh(100, turn=4)
    contexts = begun(grading, 1)
    contexts[0].tokens.append(9)
    grading.take(step_of(contexts), result_of([Proposal("lookup", 0, TREE)], [1]), [Ask("lookup", (0,), 3)])
    assert grading.refresh(108, turn=4)
    assert not grading.refresh(116, turn=4)


def test_agreement_counts_for_the_form_before_the_end_is_known_and_only_once() -> None:
    grading = Grading(["lookup"])
    contexts = begun(grading, 1)
    contexts[0].tokens += [5, 6]
    asks = [Ask("lookup", (0,), 3)]
    grading.take(step_of(contexts), result_of([Proposal("lookup", 0, TREE)], [2]), asks)
    record = grading.histories[contexts[0]].records[0]
    assert (record.run, record.form) == (2.0, 3)
    contexts[0].tokens += [7, 8]
    grading.settle(1, rested=True)
    assert record.run == 3.0
    table = grading.grades[0].forecasts[0]
    assert table.hits[0] == 1.0  # as of when it was asked: form 0
