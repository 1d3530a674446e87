"""The part of ``paceline demo`` that asks a table: a query whose right answers are known, on the packaged model."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from paceline.cli.console import working
from paceline.cli.doctor import is_complete
from paceline.errors import ExecutionError

if TYPE_CHECKING:
    from rich.console import Console

    from paceline.sql import Result
    from paceline.sql.explain import Explanation
    from paceline.sql.model import Answer

_NUM_STAYS, _NUM_HOTELS = 320, 16
_LEAST_RIGHT = 0.97  # of the answers; the model is right in nearly all: what it can do is in its README
_MOODS = ("positive", "negative", "neutral")
_FIELDS = ("guest_review", "traveller", "nights", "hotel_name", "city", "management_reply")
_MENTIONS = "Does the guest review mention the breakfast?"
_SOUNDS = "What is the sentiment of the guest review?"

# Words that the packaged model has seen. The last sentence of a review decides how it sounds.
_VERDICTS = {
    "positive": ("I love it", "worth every cent", "I can recommend it", "I would choose it again", "a pleasant surprise"),
    "negative": ("I expected more", "not worth the money", "never again in my life", "I regret it deeply", "it let me down"),
    "neutral": ("nothing special", "it does the job", "middle of the road", "about what I expected", "it is what it is"),
}  # fmt: skip
_ADJECTIVES = (
    "excellent",
    "good",
    "pleasant",
    "okay",
    "ordinary",
    "average",
    "dull",
    "disappointing",
    "awful",
    "superb",
)
_ASPECTS = ("room", "staff", "pool", "bathroom", "bed", "view", "parking", "wifi", "lobby", "location")
_CITIES = ("Paris", "Lyon", "Berlin", "Rome", "Venice", "Tokyo", "Kyoto", "Madrid", "Seville", "Toronto")
_NAMES = ("Grand", "Park", "Sea View", "Central", "Royal", "Old Mill", "Station", "Garden")
_TRAVELLERS = ("family", "couple", "business", "solo", "friends")


@dataclass(frozen=True, slots=True)
class Stay:
    """A row, and what is right about it."""

    row: dict[str, Any]
    mood: str
    mentions_breakfast: bool


class Asked(NamedTuple):
    """What a way of asking took."""

    num_requests: int
    num_prompt: int
    num_cached: int
    seconds: float

    @property
    def hit_share(self) -> float:
        return self.num_cached / self.num_prompt


def show_tables(screen: Console) -> None:
    """Explains a query, runs it, checks its answers, and asks the same rows again as they come."""
    if not is_complete("sql"):
        screen.print("\n[bold]Tables[/]: left out; they need pip install 'paceline\\[sql]'")
        return
    from paceline.sql import connect

    stays = _stays(random.Random(5))
    screen.print(f"\n[bold]Tables[/]: {_NUM_STAYS} hotel stays, asked in SQL; DuckDB runs the rest of the query")
    for line in _QUERY.splitlines():
        screen.print(f"  {line}", style="cyan", markup=False, soft_wrap=True)
    with connect(store=False) as connection:
        connection.register("stays", {name: [stay.row[name] for stay in stays] for name in stays[0].row})
        with working("planning; on a machine's first query the planner is compiled ...", quiet=not screen.is_terminal):
            explanation = connection.explain(_QUERY)
        began = time.monotonic()
        result = connection.sql(_QUERY)
        seconds = time.monotonic() - began
        again = connection.sql(
            f"SELECT mood, count(*) AS stays FROM ({_QUERY}) GROUP BY mood ORDER BY stays DESC, mood"
        )
    sent, prompt, cached = (sum(getattr(call, name) for call in result.report) for name in _COUNTS)
    planned = Asked(sent, prompt, cached, seconds)
    _print_calls(screen, explanation, result)
    screen.print(f"  found: {', '.join(f'{count} {mood}' for mood, count in again.fetchall())}")
    screen.print(f"  {_checked(stays, result)}; grouped in a second query without asking again")
    _check_kept(again)
    plain = _ask_as_they_come(stays)
    _check_hits(planned, plain)
    screen.print(
        f"  planned: {_told(planned)}; the same rows as they come: {_told(plain)}: "
        f"{plain.seconds / planned.seconds:.1f} times as fast"
    )


_QUERY = f"""\
SELECT stay,
       llm_choice('{_SOUNDS}', {list(_MOODS)},
                  {", ".join(_FIELDS)}) AS mood
FROM stays
WHERE nights > 1
  AND llm_filter('{_MENTIONS}',
                 {", ".join(_FIELDS)})"""
_COUNTS = ("num_sent", "prompt_tokens", "cached_tokens")


def _stays(rng: random.Random) -> list[Stay]:
    hotels = [
        {
            "hotel_name": f"{rng.choice(_NAMES)} Hotel {rng.choice(_CITIES)}",
            "city": rng.choice(_CITIES),
            "management_reply": " ".join(
                f"Our guests find the {aspect} {rng.choice(_ADJECTIVES[:3])}." for aspect in rng.sample(_ASPECTS, 6)
            ),
        }
        for _ in range(_NUM_HOTELS)
    ]
    return [_stay(rng, number, rng.choice(hotels)) for number in range(_NUM_STAYS)]


def _stay(rng: random.Random, number: int, hotel: dict[str, str]) -> Stay:
    mood, mentions = rng.choice(_MOODS), rng.random() < 0.5
    aspects = rng.sample(_ASPECTS, 2) + ["breakfast"] * mentions
    rng.shuffle(aspects)
    opinions = [f"The {aspect} was {rng.choice(_ADJECTIVES)}." for aspect in aspects]
    row = {
        "stay": number,
        "guest_review": f"{' '.join(opinions)} Overall, {rng.choice(_VERDICTS[mood])}.",
        "traveller": rng.choice(_TRAVELLERS),
        "nights": rng.randint(1, 9),
    }
    return Stay(row | hotel, mood, mentions)


def _print_calls(screen: Console, explanation: Explanation, result: Result) -> None:
    """What EXPLAIN foretold of each call, and what came."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 2))
    table.add_column("prompt tokens found in the cache")
    orders = ("as is", "sorted", "planned", "bound")
    for name in (*orders, "came"):
        table.add_column(name, justify="right", no_wrap=True)
    for told, came in zip(explanation.calls, result.report, strict=True):
        shares = [f"{told.hits[name] / told.planned_tokens:.0%}" for name in orders]
        table.add_row(
            told.call.partition("'")[0].rstrip("("), *shares, f"{came.cached_tokens / came.prompt_tokens:.0%}"
        )
    screen.print(table)


def _checked(stays: list[Stay], result: Result) -> str:
    """How many answers are right. ExecutionError if too few are."""
    moods: dict[int, str] = dict(result.fetchall())
    asked = [stay for stay in stays if stay.row["nights"] > 1]
    found = sum(stay.mentions_breakfast == (stay.row["stay"] in moods) for stay in asked)
    right = sum(stays[number].mood == mood for number, mood in moods.items())
    text = f"right: {found} of {len(asked)} by llm_filter, {right} of {len(moods)} by llm_choice"
    if found < _LEAST_RIGHT * len(asked) or right < _LEAST_RIGHT * len(moods):
        raise ExecutionError(f"too few answers of the query are {text}")
    return text


def _check_kept(again: Result) -> None:
    num_sent = sum(call.num_sent for call in again.report)
    if num_sent:
        raise ExecutionError(f"the second query asked {num_sent} requests again that were answered before")


def _check_hits(planned: Asked, plain: Asked) -> None:
    if planned.hit_share <= plain.hit_share:
        raise ExecutionError(
            f"the plan found no more in the cache than the rows as they come: {planned} against {plain}"
        )


def _ask_as_they_come(stays: list[Stay]) -> Asked:
    """The same questions about the same rows with a prefix cache, row after row: first the filter, then those it keeps."""
    from paceline.sql.model import MODELS, Ask
    from paceline.sql.prompt import cell_text, row_text, user_text, value_text

    def asks(question: str, choices: tuple[str, ...], rows: list[dict[str, Any]]) -> list[Ask]:
        texts = [row_text(cell_text(name, value_text(row[name])) for name in _FIELDS) for row in rows]
        return [Ask("", user_text(question, text), 8, choices) for text in texts]

    model = MODELS["embedded"]()
    answers: list[Answer] = []
    rows = [stay.row for stay in stays if stay.row["nights"] > 1]
    kept: list[dict[str, Any]] = []

    def heard(number: int, answer: Answer) -> None:
        answers.append(answer)
        if answer.text == "yes":
            kept.append(rows[number])

    try:
        began = time.monotonic()
        model.ask(asks(_MENTIONS, ("yes", "no"), rows), heard)
        kept.sort(key=lambda row: row["stay"])
        model.ask(asks(_SOUNDS, _MOODS, kept[:]), lambda number, answer: answers.append(answer))
        seconds = time.monotonic() - began
    finally:
        model.close()
    counts = (sum(answer.prompt_tokens for answer in answers), sum(answer.cached_tokens for answer in answers))
    return Asked(len(answers), *counts, seconds)


def _told(asked: Asked) -> str:
    return f"{asked.num_requests} requests, {asked.hit_share:.0%} cached, {asked.seconds:.1f} s"
