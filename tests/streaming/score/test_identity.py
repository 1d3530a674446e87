"""IDF1: equal to TrackEval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paceline.errors import InvalidRequest
from paceline.streaming.score.identity import Identity, identity
from tests.streaming.score.made import log_of, scene, tracks, truth
from tests.streaming.score.peers import trackeval, without_ignored

BOX = [10.0, 10.0, 60.0, 60.0]


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_equals_trackeval(seed: int, by_class: bool) -> None:
    shown, log = scene(seed)
    found = identity(shown, log, by_class=by_class)
    peer = trackeval("Identity", without_ignored(shown, log, by_class=by_class))
    assert found == Identity(int(peer["IDTP"]), int(peer["IDFN"]), int(peer["IDFP"]))
    assert found.f1 == pytest.approx(peer["IDF1"], abs=1e-9)


def test_a_switch_half_way_costs_half() -> None:
    log = log_of(*[truth([BOX], [1])] * 4)
    shown = (tracks([BOX], [5]),) * 2 + (tracks([BOX], [6]),) * 2
    assert identity(shown, log) == Identity(2, 2, 2)


def test_empty_sides() -> None:
    assert math.isnan(identity((None,), log_of(truth([], []))).f1)
    assert identity((None,), log_of(truth([BOX], [1]))) == Identity(0, 1, 0)
    assert identity((tracks([BOX], [1]),), log_of(truth([], []))) == Identity(0, 0, 1)
    assert math.isnan(identity((), log_of()).f1)


def test_an_id_given_twice_is_refused() -> None:
    log = log_of(truth([BOX], [1]), truth([BOX], [1]))
    with pytest.raises(InvalidRequest, match=r"frame 1 holds an id twice among \[4, 4\]"):
        identity((None, tracks([BOX, BOX], [4, 4])), log)


def test_ids_may_be_any_integers() -> None:
    log = log_of(*[truth([BOX, np.array(BOX) + 200], [-(2**62), 2**62])] * 3)
    shown = (tracks([BOX, np.array(BOX) + 200], [2**62, -5]),) * 3
    assert identity(shown, log) == Identity(6, 0, 0)
