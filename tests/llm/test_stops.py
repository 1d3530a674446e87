"""Stop strings in any cut of a text, against a plain search."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.llm.stops import StopFinder

STOPS = st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=4)


def plain(text: str, stops: list[str]) -> tuple[str, str | None]:
    """Text before the stop string that ends first, the longest of those."""
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            stop = max(ending, key=len)
            return text[: end - len(stop)], stop
    return text, None


@settings(deadline=None, max_examples=500)
@given(st.lists(st.text("abc", max_size=6), max_size=8), STOPS)
def test_any_cut_gives_the_plain_answer(pieces: list[str], stops: list[str]) -> None:
    finder = StopFinder(stops)
    shown = "".join(map(finder.feed, pieces)) + finder.rest()
    assert (shown, finder.found) == plain("".join(pieces), stops)


@given(st.text("abc", max_size=20), STOPS)
def test_the_stop_string_can_be_kept(text: str, stops: list[str]) -> None:
    finder = StopFinder(stops, include=True)
    kept, stop = plain(text, stops)
    assert finder.feed(text) + finder.rest() == kept + (stop or "")


def test_nothing_comes_after_a_stop() -> None:
    finder = StopFinder(["."])
    assert [finder.feed(text) for text in ("a.b", "c")] == ["a", ""]
    assert finder.rest() == ""
