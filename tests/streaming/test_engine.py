"""A live stream: order and counts are exact, ages loose; what fails, hangs, stalls or ends is survived."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest

from paceline.clock import WallClock
from paceline.errors import ConfigError, ExecutionError, ResourceError
from paceline.streaming.configuration import Configuration
from paceline.streaming.detect.detector import Detector
from paceline.streaming.engine import Engine
from paceline.streaming.frame import Detections, Frame, Output
from paceline.streaming.live import Feed, Sink, Status
from paceline.streaming.pipeline import Pipeline
from paceline.streaming.policy import Fixed
from paceline.streaming.profile import Runtimes
from paceline.streaming.sequence import RULES

SIZE = (64, 36)
FOUND = Detections(np.array([[5.0, 5, 20, 20]]), np.array([0.9]), np.array([0]))


class Ticking:
    """A source that gives a frame every ``gap_s``; after ``num_frames`` it ends, or ``then`` is called."""

    def __init__(self, num_frames: int, gap_s: float, then: Callable[[], object] | None = None) -> None:
        self.size, self.ended = SIZE, ""
        self.epoch_us: int | None = None
        self.drops: Counter[str] = Counter()
        self.repairs: Counter[str] = Counter()
        self.closed = threading.Event()
        self._num_frames, self._gap_s, self._then = num_frames, gap_s, then

    def __iter__(self) -> Iterator[Frame]:
        self.epoch_us = WallClock().now()
        for index in range(self._num_frames):
            due_us = self.epoch_us + round(index * self._gap_s * 1e6)
            if self.closed.wait(max(0.0, (due_us - WallClock().now()) / 1e6)):
                return
            yield Frame(index, round(index * self._gap_s * 1e6), SIZE)
        if self._then is not None:
            self._then()
        self.ended = "all was read"

    def close(self) -> None:
        self.closed.set()


def sleeping(seconds: float) -> Callable[[Frame], Detections]:
    def detect(frame: Frame) -> Detections:
        time.sleep(seconds)
        return FOUND

    return detect


def waiting(hold: threading.Event) -> Callable[[Frame], Detections]:
    def detect(frame: Frame) -> Detections:
        hold.wait(10)
        return FOUND

    return detect


def engine_of(
    source: Ticking, pipeline: Pipeline, detectors: Mapping[str, Detector], *sinks: Sink, **options: float
) -> Engine:
    return Engine({"a": Feed(source, pipeline, sinks)}, detectors, **options)  # type: ignore[arg-type]


def run(source: Ticking, pipeline: Pipeline, detectors: Mapping[str, Detector], *sinks: Sink) -> Status:
    return engine_of(source, pipeline, detectors, *sinks).run()["a"]


def broken(frame: Frame) -> Detections:
    raise ValueError("broken")


def pipeline_of(wanted: str = "d", num_workers: int = 1, **seconds: float) -> Pipeline:
    names = seconds or {"d": 0.02}
    return Pipeline(
        [Configuration(name=name, detector=name, max_age_s=0.3) for name in names],
        Fixed(wanted),
        Runtimes({name: [value] for name, value in names.items()}),
        size=SIZE,
        rule=RULES["eager"],
        num_workers=num_workers,
        max_output_age_s=1.5,
    )


def test_at_twice_what_it_can_do_outputs_stay_in_order_and_young() -> None:
    seen: list[tuple[Output, Frame]] = []
    pipeline = pipeline_of(d=0.06)
    status = run(Ticking(30, 0.03), pipeline, {"d": sleeping(0.06)}, lambda output, frame: seen.append((output, frame)))
    indices = [output.frame_index for output, _ in seen]
    ages_us = [output.emit_us - output.capture_us for output, _ in seen]
    assert status.reason == "all was read"
    assert indices == sorted(set(indices))
    assert [frame.index for _, frame in seen] == indices
    assert len(indices) == status.num_outputs
    assert status.num_submitted == 30
    assert status.drops == {"replaced": 30 - len(indices)}
    assert 8 <= len(indices) <= 17
    assert np.median(ages_us) < 200_000
    assert np.median(ages_us[len(ages_us) // 2 :]) < np.median(ages_us) + 100_000, "it does not grow"
    assert not any(thread.name.startswith(("grabber", "detector")) for thread in threading.enumerate())


def test_frames_that_the_source_lost_are_counted_too() -> None:
    source = Ticking(3, 0.03)
    source.drops["corrupt"] = 4
    status = run(source, pipeline_of(), {"d": sleeping(0.0)})
    assert status.drops == {"corrupt": 4}
    assert (status.num_submitted, status.num_outputs) == (3, 3)


def test_a_detector_that_raises_is_replaced() -> None:
    seen: list[str] = []
    pipeline = pipeline_of("bad", bad=0.05, good=0.02)
    detectors = {"bad": broken, "good": sleeping(0.001)}
    status = run(Ticking(12, 0.03), pipeline, detectors, lambda output, frame: seen.append(output.configuration))
    assert set(seen) == {"good"}
    assert len(seen) >= 4
    assert status.drops["failed"] >= 1
    assert status.num_submitted == status.num_outputs + status.drops.total() == 12


def test_a_detector_that_hangs_is_given_up() -> None:
    hold = threading.Event()
    pipeline = pipeline_of("bad", bad=0.05, good=0.02)
    status = run(Ticking(45, 0.03), pipeline, {"bad": waiting(hold), "good": sleeping(0.001)})
    hold.set()
    assert status.drops["hung"] >= 1
    assert status.num_outputs >= 3
    assert status.num_overruns >= 1
    assert status.num_submitted == status.num_outputs + status.drops.total() == 45


def test_one_that_hangs_at_the_end_does_not_keep_it_from_ending() -> None:
    hold = threading.Event()
    status = run(Ticking(1, 0.01), pipeline_of(), {"d": waiting(hold)})
    hold.set()
    assert status.drops == {"hung": 1}


def test_several_workers_keep_the_order() -> None:
    seen: list[int] = []
    uneven = iter([0.08, 0.01] * 20)

    def detect(frame: Frame) -> Detections:
        time.sleep(next(uneven))
        return FOUND

    pipeline = pipeline_of(num_workers=3, d=0.05)
    status = run(Ticking(20, 0.03), pipeline, {"d": detect}, lambda output, frame: seen.append(output.frame_index))
    assert seen == sorted(set(seen))
    assert status.num_submitted == status.num_outputs + status.drops.total() == 20


def test_a_source_that_falls_silent_ends_the_run() -> None:
    silent = threading.Event()
    source = Ticking(3, 0.02, then=lambda: silent.wait(5))
    source.close = silent.set  # type: ignore[method-assign]
    status = engine_of(source, pipeline_of(), {"d": sleeping(0.0)}, patience_s=0.3).run()["a"]
    assert status.reason == "no picture came for 0.3 s"
    assert status.num_outputs == 3


def test_what_a_source_raises_comes_out_once_all_has_ended() -> None:
    def fail() -> None:
        raise ResourceError("the camera is gone")

    engine = engine_of(Ticking(2, 0.02, then=fail), pipeline_of(), {"d": sleeping(0.0)})
    with pytest.raises(ResourceError, match="the camera is gone"):
        engine.run()
    assert engine.status()["a"].reason == "the camera is gone"
    assert engine.status()["a"].num_outputs == 2


def test_a_fault_of_a_source_is_named() -> None:
    def fail() -> None:
        raise KeyError("pts")

    with pytest.raises(ExecutionError, match=r"the source failed: KeyError\('pts'\)"):
        run(Ticking(1, 0.01, then=fail), pipeline_of(), {"d": sleeping(0.0)})


def test_a_sink_that_raises_ends_the_run() -> None:
    def full(output: Output, frame: Frame) -> None:
        raise ResourceError("the disk is full")

    source = Ticking(1000, 0.02)
    with pytest.raises(ResourceError, match="the disk is full"):
        run(source, pipeline_of(), {"d": sleeping(0.0)}, full)
    assert source.closed.is_set()


def test_it_is_stopped_from_another_thread_and_answers_meanwhile() -> None:
    first = threading.Event()
    detectors = {"d": sleeping(0.005)}
    engine = engine_of(Ticking(1000, 0.02), pipeline_of(), detectors, lambda output, frame: first.set())
    assert engine.query("a") is None
    with pytest.raises(ConfigError, match="unknown camera 'b'; known: a"):
        engine.query("b")
    asked: list[object] = []

    def stop() -> None:
        first.wait(5)
        asked.append(engine.query("a", engine.now_us("a") + 100_000))
        asked.append(engine.status()["a"].reason)
        engine.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    status = engine.run()["a"]
    stopper.join()
    assert status.reason == "stopped"
    assert asked[0] is not None
    assert asked[1] == ""
    assert status.num_submitted == status.num_outputs + status.drops.total()
    with pytest.raises(ConfigError, match="once"):
        engine.run()


def test_a_fault_of_the_pipeline_ends_the_run() -> None:
    pipeline = pipeline_of()
    pipeline.commit = lambda *_: 1 / 0  # type: ignore[assignment, method-assign]
    with pytest.raises(ZeroDivisionError):
        run(Ticking(1000, 0.02), pipeline, {"d": sleeping(0.0)})


def test_a_source_without_a_clock_is_refused() -> None:
    class Unpaced(Ticking):
        def __iter__(self) -> Iterator[Frame]:
            yield Frame(0, 0, SIZE)

    with pytest.raises(ConfigError, match="open it paced"):
        run(Unpaced(1, 0.01), pipeline_of(), {"d": sleeping(0.0)})


def test_what_does_not_fit_is_refused_at_once() -> None:
    source = Ticking(1, 0.01)
    with pytest.raises(ConfigError, match="no detector 'd' is loaded; loaded: none"):
        engine_of(source, pipeline_of(), {})
    with pytest.raises(ConfigError, match="patience_s"):
        engine_of(source, pipeline_of(), {"d": broken}, patience_s=0)
    with pytest.raises(ConfigError, match="for simulation"):
        engine_of(source, pipeline_of(num_workers="infinite", d=0.01), {"d": broken})  # type: ignore[arg-type]
    source.size = (10, 10)
    with pytest.raises(ConfigError, match=r"\(64, 36\), but the source gives \(10, 10\)"):
        engine_of(source, pipeline_of(), {"d": broken})
    with pytest.raises(ConfigError, match="no camera is given"):
        Engine({}, {})


def test_cameras_share_a_worker_and_end_each_by_itself() -> None:
    def fail() -> None:
        raise ResourceError("the left camera is gone")

    seen: dict[str, list[int]] = {"left": [], "right": []}
    sources = {"left": Ticking(5, 0.04, then=fail), "right": Ticking(15, 0.04)}
    runtimes = Runtimes({"d": [0.03]})
    feeds = {
        name: Feed(
            source,
            Pipeline(
                [Configuration(name="d", detector="d", max_age_s=0.3)],
                Fixed("d"),
                runtimes,
                size=SIZE,
                rule=RULES["eager"],
            ),
            (lambda output, frame, name=name: seen[name].append(output.frame_index),),  # type: ignore[misc]
        )
        for name, source in sources.items()
    }
    engine = Engine(feeds, {"d": sleeping(0.03)})
    with pytest.raises(ResourceError, match="left camera"):
        engine.run()
    statuses = engine.status()
    assert statuses["left"].reason == "the left camera is gone"
    assert statuses["right"].reason == "all was read"
    for name, num_frames in (("left", 5), ("right", 15)):
        assert seen[name] == sorted(set(seen[name]))
        assert len(seen[name]) == statuses[name].num_outputs >= 2
        assert statuses[name].num_outputs + statuses[name].drops.total() == num_frames


def test_outputs_that_slow_sinks_did_not_get_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paceline.streaming.engine.BACKLOG", 2)
    seen: list[int] = []

    def slow(output: Output, frame: Frame) -> None:
        time.sleep(0.15)
        seen.append(output.frame_index)

    status = run(Ticking(20, 0.02), pipeline_of(), {"d": sleeping(0.0)}, slow)
    assert status.num_unseen > 0
    assert len(seen) + status.num_unseen == status.num_outputs
    assert seen == sorted(seen)
