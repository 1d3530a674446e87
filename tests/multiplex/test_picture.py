"""The picture: valid XML that needs nothing else, everything inside its frame."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from paceline.multiplex.peers import OneByOne, threads
from paceline.multiplex.picture import Panel, picture
from paceline.multiplex.simulate import LaunchTime, calls, serve, window
from paceline.multiplex.trace import LaunchRecord, RequestRecord, Timeline
from tests.multiplex.windows import many

SVG = "{http://www.w3.org/2000/svg}"
TIMES = {"f": LaunchTime(250e-6, 6e-6, 2e-6), "g": LaunchTime(400e-6, 12e-6, 2e-6)}


def panels() -> list[Panel]:
    specs = [*many(6, slo_s=0.003), *many(6, "g", slo_s=0.003)]
    arrivals = calls(specs, 6000.0, 60, seed=3)
    return [
        Panel("one by one", serve(OneByOne(specs), specs, arrivals, TIMES).timeline),
        Panel("threads", threads(specs, arrivals, TIMES).timeline),
        Panel("coalescing", serve(window(specs, TIMES), specs, arrivals, TIMES).timeline),
    ]


def test_it_is_one_file_without_scripts_or_links() -> None:
    text = picture(panels())
    ElementTree.fromstring(text)
    assert not re.search(r"<script|href|url\(|@import|@font-face|<image|<foreignObject", text)
    assert text.count("http") == 1  # the name of the format


def test_it_is_readable_in_the_light_and_in_the_dark() -> None:
    text = picture(panels())
    light, dark = text.split("@media (prefers-color-scheme: dark)")
    for name in (".page", "text {", ".quiet", ".lanes", ".miss", ".missed"):
        assert name in light
        assert name in dark


def test_every_launch_is_a_bar_in_the_colour_of_its_family() -> None:
    shown = panels()
    bars = [
        rect
        for rect in ElementTree.fromstring(picture(shown)).iter(f"{SVG}rect")
        if rect.find(f"{SVG}title") is not None
    ]
    launches = [launch for panel in shown for launch in panel.timeline.launches]
    assert len(bars) == len(launches)
    colours = {(bar.get("fill"), (bar.findtext(f"{SVG}title") or "").split(":")[0]) for bar in bars}
    assert len(colours) == 2


def test_nothing_stands_outside_the_frame_and_panels_do_not_overlap() -> None:
    root = ElementTree.fromstring(picture(panels()))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for rect in root.iter(f"{SVG}rect"):
        x, y = float(rect.get("x", 0)), float(rect.get("y", 0))
        assert 0 <= x <= x + float(rect.get("width", 0)) <= width
        assert 0 <= y <= y + float(rect.get("height", 0)) <= height
    frames = [float(rect.get("y", 0)) for rect in root.iter(f"{SVG}rect") if rect.get("class") == "lanes"]
    assert all(below - above > 64 for above, below in pairwise(frames))


def test_missed_deadlines_are_marked_and_counted() -> None:
    shown = panels()
    root = ElementTree.fromstring(picture(shown))
    crosses = [path.get("d", "").count("M") for path in root.iter(f"{SVG}path") if path.get("class") == "miss"]
    missed = [sum(not record.in_time for record in panel.timeline.requests) for panel in shown]
    assert crosses == [1, *missed]  # the first explains the mark
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    for panel, number in zip(shown, missed, strict=True):
        assert f"{60 - number} of 60 in time, {len(panel.timeline.launches)} launches" in texts


def test_all_panels_share_one_axis() -> None:
    early, late = Timeline(), Timeline()
    early.launches.append(LaunchRecord(0, 100, 0, "f", "f", 1, 1, ("a",)))
    early.requests.append(RequestRecord("a", "t", 0, 200, 0, 100, "done"))
    late.launches.append(LaunchRecord(900, 1000, 0, "f", "f", 1, 1, ("a",)))
    late.requests.append(RequestRecord("a", "t", 0, 200, 900, 1000, "done"))
    root = ElementTree.fromstring(picture([Panel("early", early), Panel("late", late)]))
    bars = [float(rect.get("x", 0)) for rect in root.iter(f"{SVG}rect") if rect.get("class") == "launch"]
    assert bars == [20.0, 920.0]


def test_names_are_escaped() -> None:
    timeline = Timeline()
    timeline.launches.append(LaunchRecord(0, 100, 0, "<f> & g", "f", 1, 1, ("a",)))
    ElementTree.fromstring(picture([Panel("<one> & two", timeline)]))


@pytest.mark.parametrize("shown", [[], [Panel("nothing", Timeline())]])
def test_nothing_is_a_picture_too(shown: list[Panel]) -> None:
    ElementTree.fromstring(picture(shown))
