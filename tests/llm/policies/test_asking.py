"""What asking is worth."""

from __future__ import annotations

from paceline.llm.policies.acceptance import NUM_FORMS
from paceline.llm.policies.asking import Price, Wishes
from paceline.llm.policies.calling import CallCost
from paceline.llm.policies.evidence import NUM_CLASSES, Grades

HOT, COLD = 4, 1


def code_of(*forms: int) -> int:
    code = 0
    for form in reversed(forms):
        code = code * NUM_FORMS + form
    return code * NUM_CLASSES


def known_cost(shared_s: float, per_depth_s: float = 0.0) -> CallCost:
    cost = CallCost()
    for turn in range(24):
        members, depth = 1 + turn % 5, 1 + turn % 7
        cost.observe(members, depth, shared_s + per_depth_s * depth)
    return cost


def grades_of(rate_by_form: dict[int, float]) -> Grades:
    grades = Grades()
    table = grades.forecasts[0]
    for form, rate in rate_by_form.items():
        for depth in range(8):
            table.hits[depth * NUM_FORMS + form] += 1000 * rate
            table.tries[depth * NUM_FORMS + form] += 1000
    table.refresh()
    return grades


def wishes_of(grades: list[Grades], costs: list[CallCost], per_row: float = 0.1) -> Wishes:
    wishes = Wishes(grades, costs, 8)
    wishes.reprice(Price(100.0, per_row, 0.010, 1.0))
    return wishes


def test_form_decides_who_is_asked() -> None:
    grades = [grades_of({COLD: 0.02, HOT: 0.95}), grades_of({COLD: 0.6, HOT: 0.6})]
    wishes = wishes_of(grades, [known_cost(1e-5), known_cost(0.003)])
    assert [wish.proposer for wish in wishes.of(code_of(COLD, COLD))] == [1]
    assert wishes.of(code_of(HOT, COLD))[0].proposer == 0


def test_the_second_proposer_counts_for_what_it_adds() -> None:
    grades = [grades_of({HOT: 0.95}), grades_of({HOT: 0.95})]
    alone = wishes_of(grades[:1], [known_cost(0.002)]).of(code_of(HOT))
    both = wishes_of(grades, [known_cost(1e-5), known_cost(0.002)]).of(code_of(HOT, HOT))
    assert alone[0].gain > 3.0
    assert sum([wish.gain for wish in both[1:]]) < 0.5 * alone[0].gain


def test_dear_rows_and_dear_depth_make_short_drafts() -> None:
    grades = [grades_of({HOT: 0.7})]
    deep = wishes_of(grades, [known_cost(1e-5)], per_row=0.02).of(code_of(HOT))[0].depth
    shallow = wishes_of(grades, [known_cost(1e-5)], per_row=0.4).of(code_of(HOT))[0].depth
    costly = wishes_of(grades, [known_cost(1e-5, per_depth_s=0.004)], per_row=0.02).of(code_of(HOT))[0].depth
    assert deep == 8
    assert shallow == 2
    assert costly < 4


def test_a_cheap_proposer_gets_its_first_look_on_hope_and_a_dear_one_does_not() -> None:
    hopeless = [grades_of({0: 0.01})]
    cheap = wishes_of(hopeless, [known_cost(1e-5)])
    assert [(wish.hoped, wish.depth) for wish in cheap.of(code_of(0))] == [(True, 8)]
    assert cheap.of(code_of(COLD)) == ()
    assert wishes_of(hopeless, [known_cost(0.005)]).of(code_of(0)) == ()


def test_nobody_is_asked_whose_cost_is_unknown() -> None:
    assert wishes_of([grades_of({HOT: 0.9})], [CallCost()]).of(code_of(HOT)) == ()


def test_old_evidence_leaves_more_to_hope() -> None:
    wishes = wishes_of([grades_of({COLD: 0.05})], [known_cost(0.002)])
    fresh, old = (wishes.hopeful(0, 0, age, 4) for age in (0.0, 5000.0))
    assert fresh.goodput < old.goodput
