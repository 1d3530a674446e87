"""Published step times come out as they were published."""

from __future__ import annotations

import pytest

from paceline.errors import ConfigError
from paceline.llm.load import StepLoad
from paceline.llm.simulate.published import Drafter, Formula, Staircase, names, served_model

EAGLE_ON_H100 = {  # milliseconds of whole steps with 0, 1, 3, 4, 5 and 7 drafts, by batch
    1: (6.87, 7.97, 9.41, 9.91, 10.8, 12.29),
    4: (6.87, 7.97, 9.41, 9.91, 10.8, 12.29),
    16: (7.3, 8.39, 9.95, 10.8, 11.59, 13.11),
    32: (7.64, 8.97, 10.78, 11.79, 12.81, 14.86),
    64: (8.53, 10.44, 13.16, 15.7, 17.54, 120.0),
}


def load(rows: int, seqs: int | None = None, context: int = 0) -> StepLoad:
    return StepLoad(rows, context, rows if seqs is None else seqs)


@pytest.mark.parametrize("batch", EAGLE_ON_H100)
def test_the_table_of_eagle_on_an_h100(batch: int) -> None:
    served = served_model("llama-3.1-8b", "H100-graphs")
    for drafts, expected in zip((0, 1, 3, 4, 5, 7), EAGLE_ON_H100[batch], strict=True):
        seconds = served.step_s(load(batch * (drafts + 1), batch), verifies=drafts > 0)
        seconds += served.draft_s("heads", load(batch), drafts) if drafts else 0.0
        assert 1000 * seconds == pytest.approx(expected, rel=1e-9)


def test_the_simulator_of_specdecode_bench() -> None:
    served = served_model("llama-3.1-8b", "H100")
    assert 1000 * served.step_s(load(8, 8, 4000)) == pytest.approx(1.207 + 5.886 + 3.926e-5 * 4000 + 2.101e-2 * 8)
    assert 1000 * served.draft_s("heads", load(8), 3) == pytest.approx(2.135)
    assert served.draft_s("heads", load(8), 3) == served.draft_s("heads", load(8), 7)
    lookup = served.draft_s("lookup", load(8), 3)
    assert 1000 * lookup == pytest.approx(0.0059 * (5.886 + 2.101e-2 * 32))


@pytest.mark.parametrize(
    ("model", "device", "rows", "expected"),
    [
        ("llama-2-7b", "A100", 256, 17.82),
        ("llama-2-7b", "H100", 96, 6.115),
        ("llama-2-7b", "A40", 1024, 136.9),
        ("llama-3.1-8b", "A100", 128, 13.2),
        ("llama-3-70b", "4xH100", 512, 30.0),
        ("llama-2-70b", "8xA100", 32, 53.2),
        ("llama-2-7b", "A100", 2048, 68.0 + 2 * 34.6),
        ("llama-3-8b", "H100", 100, 6.939),  # its fit falls below the time of reading the weights
        ("llama-3.1-70b", "4xH100", 10, 18.345 + 0.6402 - 0.3974),
    ],
)
def test_rows_cost_what_was_measured(model: str, device: str, rows: int, expected: float) -> None:
    assert 1000 * served_model(model, device).step_s(load(rows)) == pytest.approx(expected)


@pytest.mark.parametrize(("model", "device"), names())
def test_every_entry_is_sound(model: str, device: str) -> None:
    served = served_model(model, device)
    assert served.num_blocks > 2000
    times = [served.step_s(StepLoad(rows, 500 * 8, 8)) for rows in (8, 9, 20, 64, 200, 1000, 8000)]
    assert times == sorted(times)
    assert times[0] > 0.0
    assert all(served.draft_s(name, load(4), 1) <= served.draft_s(name, load(4), 8) for name in served.drafters)
    assert served.draft_s("heads", load(1), 1) < served.step_s(load(1))


def test_parts_of_a_price_add_up() -> None:
    plane = Formula(1.0, per_context=0.1, per_row=0.01, per_seq=0.5, verifying=0.25)
    assert plane.ms(StepLoad(10, 20, 2), verifies=True) == pytest.approx(1.0 + 2.0 + 0.1 + 1.0 + 0.25)
    assert Staircase((2, 4), (1.0, 3.0)).ms(load(1), verifies=False) == 1.0
    drafter = Drafter(fixed=1.0, per_pass=0.5, per_seq=0.1, per_row=0.01, share=0.5)
    assert drafter.ms(Formula(2.0, per_row=1.0), load(3), 4) == pytest.approx(1.0 + 2.0 + 0.3 + 0.12 + 0.5 * 17.0)


def test_unknown_names_are_answered_with_the_known() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'llama-3.1-8b'\? known: .*llama-2-7b"):
        served_model("lama-3.1-8b", "H100")
    with pytest.raises(
        ConfigError, match=r"no step times of llama-2-7b on 'B200'; there are some for: A100, A40, H100"
    ):
        served_model("llama-2-7b", "B200")
