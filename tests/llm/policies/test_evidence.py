"""Proposals against the text: what is tried, what is censored, what waits."""

from __future__ import annotations

import pytest

from paceline.llm.draft.proposer import Context
from paceline.llm.draft.tree import DraftTree
from paceline.llm.policies.evidence import Grades, History, Pending, forms_in, temperature_class

CHAIN = DraftTree.chain([5, 6, 7], [0.9, 0.8, 0.7])


def graded(tree: DraftTree, text: list[int], depth: int = 3, *, last: bool = False) -> tuple[Grades, History, bool]:
    grades, history = Grades(), History(Context([1, 1, *text], 2), 1)
    return grades, history, grades.grade(history, history.records[0], Pending(2, tree, depth, 0), last=last)


@pytest.mark.parametrize(
    ("text", "tries", "hits"),
    [
        ([9], 1, 0),
        ([5, 9], 2, 1),
        ([5, 6, 7], 3, 3),
        ([5, 6, 7, 8], 3, 3),
    ],
)
def test_a_node_is_tried_only_if_all_above_it_agreed(text: list[int], tries: int, hits: int) -> None:
    grades, history, done = graded(CHAIN, text)
    assert done
    assert sum(grades.calibrations[0].tries) == sum(grades.forecasts[0].tries) == tries
    assert sum(grades.calibrations[0].hits) == hits
    assert history.records[0].run == (hits if hits == 3 else hits / 2)


def test_a_proposal_waits_until_the_text_tells_its_end() -> None:
    grades, history, done = graded(CHAIN, [5])
    assert not done
    assert not sum(grades.calibrations[0].tries)
    history.context.tokens.append(9)
    assert grades.grade(history, history.records[0], Pending(2, CHAIN, 3, 0), last=False)
    assert sum(grades.calibrations[0].tries) == 2


def test_the_last_look_takes_what_there_is_and_no_more() -> None:
    grades, history, done = graded(CHAIN, [5], last=True)
    assert done
    assert sum(grades.calibrations[0].tries) == sum(grades.calibrations[0].hits) == 1
    assert history.records[0].run == 1
    assert graded(CHAIN, [], last=True)[0].num_graded == 0


def test_a_proposal_shorter_than_asked_for_had_no_more_to_offer() -> None:
    grades, _, _ = graded(CHAIN, [5, 6, 7, 8], depth=8)
    assert sum(grades.forecasts[0].tries) == 4
    assert sum(grades.calibrations[0].tries) == 3


def test_branches_are_graded_with_those_beside_them() -> None:
    tree = DraftTree((5, 6, 7, 8), (-1, -1, 1, 1), (0.5, 0.4, 0.3, 0.1))
    grades, history, done = graded(tree, [6, 9])
    assert done
    assert (sum(grades.calibrations[0].hits), sum(grades.calibrations[0].tries)) == (1, 4)
    assert (sum(grades.forecasts[0].hits), sum(grades.forecasts[0].tries)) == (1, 2)
    assert history.records[0].run == 0.5
    assert graded(tree, [6])[2] is False
    assert graded(tree, [5])[2] is False
    assert graded(tree, [5, 1])[2] is True


def test_silence_is_a_miss_and_forms_are_read_from_the_code() -> None:
    grades, history = Grades(), History(Context([1], 1, temperature=0.9), 2)
    grades.miss(history, history.records[1])
    history.recode()
    assert sum(grades.forecasts[2].tries) == 1
    assert forms_in(history.code, 2) == (2, [0, 1])


def test_catching_up_counts_for_first_tokens_and_not_without_end() -> None:
    grades, history = Grades(), History(Context([1], 1), 1)
    grades.catch_up(history.records[0], 0, hits=300, tries=400)
    table = grades.forecasts[0]
    assert (table.hits[0], table.tries[0]) == (12.0, 16.0)


def test_other_traffic_is_noticed_and_old_evidence_fades() -> None:
    grades, history = Grades(), History(Context([1, 1, 5, 6, 7], 2), 1)
    for _ in range(100):
        grades.grade(history, history.records[0], Pending(2, CHAIN, 3, 0), last=False)
    grades.refresh(16)
    assert not grades.has_changed
    before = sum(grades.forecasts[0].tries)
    for _ in range(40):
        grades.grade(history, history.records[0], Pending(1, CHAIN, 3, 0), last=False)
    assert grades.has_changed
    grades.refresh(8)
    assert sum(grades.forecasts[0].tries) < 0.3 * before
    assert not grades.has_changed


def test_drafts_for_a_request_that_does_better_are_believed_more() -> None:
    grades = Grades()
    good, bad = (History(Context([1, 1, *text], 2), 1) for text in ([5, 6, 7], [9]))
    for _ in range(60):
        for history in (good, bad):
            grades.grade(history, history.records[0], Pending(2, CHAIN, 3, 0), last=False)
    grades.refresh(16)
    assert grades.chances(good, good.records[0], CHAIN)[0] > 0.8
    assert grades.chances(bad, bad.records[0], CHAIN)[0] < 0.3


def test_temperatures_have_classes() -> None:
    assert [temperature_class(value) for value in (0.0, 0.1, 0.7, 0.71, 2.0)] == [0, 1, 1, 2, 2]


def test_promises_are_what_is_beyond_the_price_of_rows_and_silence_breaks_them() -> None:
    grades, history = Grades(), History(Context([1], 1), 1)
    record = history.records[0]
    for _ in range(50):
        grades.promise(history, record, [0.9, 0.7, 0.3], per_row=0.5)
    assert grades.surplus[0][record.form] == pytest.approx(0.6, abs=0.01)
    grades.miss(history, record)
    assert grades.surplus[0][0] < 0.55
