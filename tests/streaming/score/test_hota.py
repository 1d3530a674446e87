"""HOTA: equal to TrackEval at each of its demands."""

from __future__ import annotations

import numpy as np
import pytest

from paceline.streaming.score.hota import hota
from tests.streaming.score.made import log_of, scene, tracks, truth
from tests.streaming.score.peers import trackeval, without_ignored

BOX = [10.0, 10.0, 60.0, 60.0]


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_equals_trackeval(seed: int, by_class: bool) -> None:
    shown, log = scene(seed)
    found = hota(shown, log, by_class=by_class)
    peer = trackeval("HOTA", without_ignored(shown, log, by_class=by_class))
    assert found.hota == pytest.approx(peer["HOTA"], abs=1e-9)
    assert found.detection == pytest.approx(peer["DetA"], abs=1e-9)
    assert found.association == pytest.approx(peer["AssA"], abs=1e-9)


def test_empty_sides() -> None:
    assert np.isnan(hota((None,), log_of(truth([], []))).hota).all()
    assert np.isnan(hota((), log_of()).hota).all()
    assert not hota((None,), log_of(truth([BOX], [1]))).hota.any()
    assert not hota((tracks([BOX], [1]),), log_of(truth([], []))).hota.any()


def test_a_switch_half_way_halves_association_only() -> None:
    log = log_of(*[truth([BOX], [1])] * 4)
    found = hota((tracks([BOX], [5]),) * 2 + (tracks([BOX], [6]),) * 2, log)
    assert found.detection == pytest.approx(1.0)
    assert found.association == pytest.approx(0.5)
