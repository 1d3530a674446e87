"""The simulated grid at a size for tests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.speculation import simulated
from benchmarks.speculation.protocol import ARMS, ORACLE, OURS, PLAIN


def test_rows_name_their_cell_and_every_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "MAX_OUTPUT", 60)
    monkeypatch.setattr(simulated, "NUM_GENERATED", 40)
    monkeypatch.setattr(simulated, "TRACES", simulated.TRACES.with_name("absent"))
    place = simulated.Place("llama-3.1-8b", "H100", "mixed", (2,))
    form = replace(simulated.QUICK, least_warm_up=2, least=8, places=(place,))
    rows = list(simulated.simulated_rows(form))
    assert rows == list(simulated.simulated_rows(form))
    assert [row["policy"] for row in rows] == [*ARMS, ORACLE]
    assert {(row["model"], row["device"], row["workload"], row["batch"]) for row in rows} == {(*place[:3], 2)}
    speedups = {row["policy"]: row["speedup"] for row in rows}
    assert speedups[PLAIN] == 1.0
    assert speedups["fixed-3"] > 1.3
    [gap] = simulated.oracle_gaps(rows).values()
    assert gap == pytest.approx(1.0 - speedups[OURS] / speedups[ORACLE], abs=1e-4)


def test_the_full_form_has_every_cell_of_the_quick_one() -> None:
    def cells(form: simulated.Form) -> set[tuple[str, str, str, int]]:
        return {(*place[:3], batch) for place in form.places for batch in place.batches}

    assert cells(simulated.QUICK) <= cells(simulated.FULL)
