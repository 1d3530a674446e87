from __future__ import annotations

import msgspec

from paceline.transfer.fit.stopping import Stopping


def test_the_first_of_equal_epochs_is_the_best() -> None:
    assert Stopping().after(0, 1.0).after(1, 1.0).best_epoch == 0


def test_without_patience_it_never_stops() -> None:
    seen = Stopping()
    for epoch in range(50):
        seen = seen.after(epoch, float(epoch))
    assert not seen.stop


def test_it_stops_when_patience_is_at_an_end() -> None:
    seen = Stopping(patience=2).after(0, 1.0).after(1, 2.0)
    assert not seen.stop
    assert seen.after(2, 3.0).stop
    assert not seen.after(2, 0.5).after(3, 0.6).stop


def test_it_survives_json_before_the_first_epoch() -> None:
    assert msgspec.json.decode(msgspec.json.encode(Stopping()), type=Stopping) == Stopping()
