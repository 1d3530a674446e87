from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paceline.errors import ConfigError
from paceline.streaming.sources.video import Video
from tests.streaming.sources.made import SMALL, cut, picture, scribble, video

pytest.importorskip("av")

FAST_START = {"movflags": "faststart"}


def times_of(source: Video) -> list[int]:
    frames = list(source)
    assert all(frame.size == source.size for frame in frames)
    assert all(frame.pixels is not None and frame.pixels.shape == (*source.size[::-1], 3) for frame in frames)
    indices = [frame.index for frame in frames]
    assert indices == sorted(set(indices))
    times = [frame.capture_us for frame in frames]
    assert times == sorted(set(times))
    assert source.ended
    return times


def test_pictures_come_with_the_files_own_times(tmp_path: Path) -> None:
    source = Video(str(video(tmp_path / "a.mp4", ticks=[0, 100, 250, 300])))
    assert source.size == SMALL
    frames = list(source)
    assert [frame.capture_us for frame in frames] == [0, 100_000, 250_000, 300_000]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    for index, frame in enumerate(frames):
        assert frame.pixels is not None
        assert np.abs(frame.pixels.astype(int) - picture(index)).mean() < 12
    assert (source.ended, not source.drops, not source.repairs) == ("all was read", True, True)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
def test_every_container_reads_whole(tmp_path: Path, suffix: str) -> None:
    source = Video(str(video(tmp_path / f"a.{suffix}")))
    assert times_of(source) == [index * 100_000 for index in range(20)]
    assert not source.drops


def test_a_given_rate_overrides_times(tmp_path: Path) -> None:
    source = Video(str(video(tmp_path / "a.mp4", ticks=[0, 100, 250, 300])), rate_hz=20)
    assert times_of(source) == [0, 50_000, 100_000, 150_000]


def test_a_stream_without_times_or_rate_runs_at_a_nominal_one(tmp_path: Path) -> None:
    source = Video(str(video(tmp_path / "a.m4v", form="m4v")))
    times = times_of(source)
    assert len(times) == 20
    assert np.ptp(np.diff(times)) <= 1


@pytest.mark.parametrize("share", [0.6, 0.75, 0.9])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_cut_file_gives_what_is_there_and_counts_the_rest(tmp_path: Path, suffix: str, share: float) -> None:
    source = Video(str(cut(video(tmp_path / f"a.{suffix}", options=FAST_START if suffix == "mp4" else {}), share)))
    times = times_of(source)
    assert 0 < len(times) < 20
    assert len(times) + sum(source.drops.values()) == 20
    assert "ends early" in source.ended


def test_an_mp4_cut_before_its_index_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read as video"):
        Video(str(cut(video(tmp_path / "a.mp4"), 0.5)))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("suffix", ["mp4", "ts", "mkv", "avi"])
def test_scribbled_files_are_stepped_over_and_accounted_for(tmp_path: Path, suffix: str, seed: int) -> None:
    path = scribble(video(tmp_path / f"a.{suffix}"), at=0.45, share=0.06, seed=seed)
    source = Video(str(path))
    times = times_of(source)
    assert times
    if suffix != "ts":  # whose length is read from what is left of it
        assert len(times) + sum(source.drops.values()) >= 19


def test_damage_costs_at_most_a_second_of_pictures(tmp_path: Path) -> None:
    path = scribble(video(tmp_path / "a.mp4", ticks=range(0, 6000, 100), key_every=60), at=0.3, share=0.05)
    times = times_of(Video(str(path)))
    assert max(np.diff(times)) <= 1_100_000
    assert len(times) > 30


def test_scribbles_everywhere_never_hang_or_escape(tmp_path: Path) -> None:
    for seed in range(25):
        place = np.random.default_rng(seed).uniform(0, 0.9)
        path = scribble(video(tmp_path / f"{seed}.mp4"), at=place, share=0.1, seed=seed)
        try:
            source = Video(str(path))
        except ConfigError:
            continue
        times_of(source)


def test_joined_streams_change_size_and_set_the_clock_back(tmp_path: Path) -> None:
    small = video(tmp_path / "small.ts", ticks=range(0, 3000, 100))
    large = video(tmp_path / "large.ts", size=(96, 64), ticks=range(0, 3000, 100))
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    source = Video(str(both))
    times = times_of(source)
    assert source.size == SMALL
    assert len(times) + sum(source.drops.values()) == 60
    assert len(times) >= 58
    assert max(np.diff(times)) <= 1_000_000
    assert source.repairs["rescaled to the first picture's size"] >= 28


@pytest.mark.parametrize("content", [b"", b"not a video", bytes(range(256)) * 40], ids=["empty", "text", "bytes"])
def test_nonsense_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as video"):
        Video(str(path))


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    import wave

    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\0" * 800)
    with pytest.raises(ConfigError, match="holds no picture"):
        Video(str(tmp_path / "a.wav"))
