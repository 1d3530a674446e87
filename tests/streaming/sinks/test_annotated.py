from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paceline.errors import ConfigError, ResourceError
from paceline.streaming.frame import Frame, Size, Tracks
from paceline.streaming.sinks.annotated import ENCODERS, AnnotatedVideo
from paceline.streaming.sources.video import Video
from tests.streaming.sources.made import picture

pytest.importorskip("av")

ONE = Tracks(
    np.array([[20.0, 30.0, 50.0, 44.0]]), np.array([3]), np.ones(1), np.zeros(1, int), np.zeros(1, int), np.zeros(1)
)
TIMES_US = (0, 100_000, 233_333, 400_000)


def write(path: Path, size: Size) -> AnnotatedVideo:
    with AnnotatedVideo(path, size) as sink:
        for index, time_us in enumerate(TIMES_US):
            sink.write(Frame(index, time_us, size, picture(0, size)), ONE, configuration="small", age_us=50_000)
    return sink


@pytest.mark.parametrize("size", [(64, 48), (63, 47)], ids=["even", "odd"])
@pytest.mark.parametrize("suffix", ENCODERS)
def test_every_kind_plays_with_its_times(tmp_path: Path, suffix: str, size: Size) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, size)
    source = Video(str(path))
    frames = list(source)
    assert source.size == size
    assert [round(frame.capture_us / 1000) for frame in frames] == [0, 100, 233, 400]
    pixels = frames[-1].pixels
    assert pixels is not None
    assert pixels[36, 18:24].max() > 60  # the box's left edge on black


def test_no_encoder_is_under_the_gpl(tmp_path: Path) -> None:
    import av

    for suffix in ENCODERS:
        write(tmp_path / f"a{suffix}", (64, 48))
        with av.open(str(tmp_path / f"a{suffix}")) as container:
            assert container.streams.video[0].codec_context.name in ("mpeg4", "vp9", "libvpx-vp9")


def test_times_that_do_not_rise_are_left_out_and_counted(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "a.mp4", (64, 48)) as sink:
        for time_us in (0, 100, 90_000, 50_000):
            sink.write(Frame(0, time_us, (64, 48), picture(0)), Tracks())
    assert sink.num_left_out == 2


def test_wrong_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"known: \.webm"):
        AnnotatedVideo(tmp_path / "a.gif", (64, 48))
    with pytest.raises(ResourceError, match="cannot be written"):
        AnnotatedVideo(tmp_path / "absent" / "a.mp4", (64, 48))


def test_a_video_without_pictures_ends_quietly(tmp_path: Path) -> None:
    for suffix in ENCODERS:
        AnnotatedVideo(tmp_path / f"a{suffix}", (64, 48)).close()
