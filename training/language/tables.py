"""Seeded tables of reviews, tickets and the like, questions about them, and the right answers.

    rows = make_table("products", num_rows=1000, seed=7)
    for question in questions("products"):
        text = prompt(question.texts[0], rows[0])
        right = answer(rows[0], question)

Pure Python. A table's rows share entities (a product has several reviews, a film several critics), so some fields
depend on others, as in real data. Every answer can be computed from the fields that the row shows.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from training.language import lexicon
from training.language.questions import QUESTIONS, Question
from training.language.truth import Row, Value, text_of

__all__ = [
    "KINDS",
    "SYSTEM",
    "Question",
    "Row",
    "Value",
    "answer",
    "chat",
    "make_table",
    "prompt",
    "questions",
    "record",
    "text_of",
]

SYSTEM: Final = (
    "You are a data analyst. Answer the question from the fields of the JSON row. Reply with the answer only."
)
KINDS: Final[tuple[str, ...]] = tuple(QUESTIONS)
ROWS_PER_ENTITY: Final = 6  # reviews per product, critics per film


def make_table(kind: str, num_rows: int, seed: int) -> list[Row]:
    """`num_rows` rows of one kind; the same arguments give the same rows.

    >>> make_table("tickets", 2, seed=1) == make_table("tickets", 2, seed=1)
    True
    """
    if kind not in QUESTIONS:
        raise ValueError(f"unknown kind {kind!r}; known: {sorted(QUESTIONS)}")
    rng = random.Random(f"{kind}/{seed}")
    make_entity, make_row = _MAKERS[kind]
    entities = [make_entity(rng) for _ in range(-(-num_rows // ROWS_PER_ENTITY))]
    return [make_row(rng, rng.choice(entities)) for _ in range(num_rows)]


def questions(kind: str) -> tuple[Question, ...]:
    """All questions that rows of `kind` answer."""
    return QUESTIONS[kind]


def answer(row: Row, question: Question) -> str:
    """The right answer, computed from the row alone."""
    return question.truth(row)


def prompt(question: str, row: Mapping[str, Value], fields: Sequence[str] | None = None) -> str:
    """The user's message: the question, then the row as JSON on one line, fields in the given order.

    >>> print(prompt("What is the brand?", {"price": 5, "brand": "Zentra"}, ["brand", "price"]))
    What is the brand?
    {"brand": "Zentra", "price": 5}
    """
    names = list(row) if fields is None else fields
    return f"{question}\n{json.dumps({name: row[name] for name in names}, ensure_ascii=False)}"


def chat(user: str, system: str | None = SYSTEM) -> str:
    """The text that a model continues with its answer, in ChatML."""
    head = "" if system is None else f"<|im_start|>system\n{system}<|im_end|>\n"
    return f"{head}<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"


def record(rng: random.Random) -> tuple[Row, str]:
    """A row with fields of arbitrary names and values, and the name of one of them: practice in looking up."""
    names = rng.sample(_RECORD_FIELDS, rng.randint(3, 9))
    return {name: _value(rng) for name in names}, rng.choice(names)


_RECORD_FIELDS: Final = (
    tuple(f"{first}{second}" for first in lexicon.FIELD_STARTS for second in lexicon.FIELD_ENDS) + lexicon.FIELDS
)


def _value(rng: random.Random) -> Value:
    roll = rng.random()
    if roll < 0.35:
        return brand(rng)
    if roll < 0.6:
        return rng.randint(0, 10 ** rng.randint(1, 5))
    if roll < 0.7:
        return rng.random() < 0.5
    if roll < 0.85:
        return person(rng)
    return f"{rng.choice(lexicon.STYLES)} {rng.choice(rng.choice(list(lexicon.GOODS.values())))}"


def brand(rng: random.Random) -> str:
    return "".join(rng.choice(part) for part in lexicon.SYLLABLES)


def person(rng: random.Random) -> str:
    return f"{rng.choice(lexicon.FIRST_NAMES)} {rng.choice(lexicon.LAST_NAMES)}"


def _number(rng: random.Random, low: int, middle: int, high: int) -> int:
    """Below `middle` as often as not, so that a filter at `middle` keeps about half of the rows."""
    return rng.randint(low, middle - 1) if rng.random() < 0.5 else rng.randint(middle, high)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def opinion(rng: random.Random, aspect: str, level: int) -> str:
    adjective = rng.choice(lexicon.ADJECTIVES[level])
    return rng.choice(lexicon.OPINIONS).format(aspect=aspect, adjective=adjective)


def review(rng: random.Random, aspects: Sequence[str], often: str) -> tuple[str, int]:
    """A text of one to three opinions and a verdict, with its level. `often` is judged in half of the texts."""
    level = rng.choice((1, 2, 3, 4, 5))
    chosen = [often] * (rng.random() < 0.45)
    chosen += rng.sample([aspect for aspect in aspects if aspect != often], rng.randint(1, 2))
    rng.shuffle(chosen)
    mixed = rng.random() < 0.4
    parts = [opinion(rng, aspect, rng.choice((1, 2, 4, 5)) if mixed else level) for aspect in chosen]
    if rng.random() < 0.25:
        parts.insert(rng.randint(0, len(parts)), rng.choice(lexicon.FILLERS))
    parts.append(rng.choice(lexicon.CLOSINGS).format(verdict=rng.choice(lexicon.VERDICTS[level])))
    return " ".join(map(_sentence, parts)), level


def _stars(rng: random.Random, level: int) -> int:
    """The level, or in two of five rows a number that contradicts it."""
    return level if rng.random() < 0.6 else rng.choice([star for star in range(1, 6) if abs(star - level) >= 2])


def _product(rng: random.Random) -> Row:
    category = rng.choice(list(lexicon.GOODS))
    noun, maker = rng.choice(lexicon.GOODS[category]), brand(rng)
    other = rng.choice(rng.choice(list(lexicon.GOODS.values())))
    return {
        "parent_asin": f"B{rng.randint(100, 999)}{rng.choice('ABCDEFGH')}{rng.randint(10, 99)}",
        "product_title": f"{maker} {rng.choice(lexicon.STYLES)} {noun}",
        "brand": maker,
        "department": category if rng.random() < 0.55 else rng.choice(list(lexicon.GOODS)),
        "description": f"Made of {rng.choice(lexicon.MATERIALS)}, goes well with a {rng.choice(lexicon.STYLES)} {other}.",
        "price": _number(rng, 5, 50, 400),
    }


def _product_review(rng: random.Random, product: Row) -> Row:
    text, level = review(rng, lexicon.GOODS_ASPECTS, "delivery")
    return product | {
        "review_title": rng.choice(lexicon.HEADLINES),
        "review_text": text,
        "rating": _stars(rng, level),
        "helpful_votes": rng.randint(0, 60),
        "verified_purchase": rng.random() < 0.6,
    }


def _movie(rng: random.Random) -> Row:
    genre = rng.choice(list(lexicon.GENRES))
    rated = rng.choice(lexicon.FAMILY if rng.random() < 0.5 else lexicon.MATURE)
    return {
        "movie_title": " ".join(rng.choice(part) for part in lexicon.FILM_TITLES),
        "movie_info": f"The film shows {rng.choice(lexicon.GENRES[genre])}, {rated}.",
        "listed_genre": genre if rng.random() < 0.55 else rng.choice(list(lexicon.GENRES)),
        "director": person(rng),
        "release_year": _number(rng, 1950, 2000, 2025),
        "runtime_minutes": _number(rng, 75, 121, 190),
    }


def _movie_review(rng: random.Random, movie: Row) -> Row:
    text, level = review(rng, lexicon.FILM_ASPECTS, "plot")
    fresh = (level >= 4) == (rng.random() < 0.6)
    return movie | {
        "critic_name": person(rng),
        "top_critic": rng.random() < 0.4,
        "review_type": "Fresh" if fresh else "Rotten",
        "review_content": text,
    }


def _customer(rng: random.Random) -> Row:
    return {"customer": person(rng), "plan": "free" if rng.random() < 0.35 else rng.choice(lexicon.PLANS)}


def _ticket(rng: random.Random, customer: Row) -> Row:
    urgent = rng.random() < 0.5
    parts = [
        rng.choice(rng.choice(list(lexicon.INTENTS.values()))),
        rng.choice(rng.choice(list(lexicon.TONES.values()))),
    ]
    parts.append(rng.choice(lexicon.URGENT if urgent else lexicon.PATIENT))
    parts += [rng.choice(lexicon.REFUND)] * (rng.random() < 0.4)
    rng.shuffle(parts)
    fitting = rng.random() < 0.6
    return customer | {
        "ticket_id": f"T{rng.randint(1000, 9999)}",
        "message": " ".join(map(_sentence, parts)),
        "channel": rng.choice(lexicon.CHANNELS),
        "priority": "high" if urgent == fitting else rng.choice(("low", "normal")),
        "open_days": _number(rng, 0, 10, 40),
        "agent_note": rng.choice(lexicon.AGENT_NOTES),
    }


def _hotel(rng: random.Random) -> Row:
    return {
        "hotel_name": f"{rng.choice(lexicon.HOTEL_NAMES)} Hotel {brand(rng)}",
        "city": rng.choice(list(lexicon.CITIES)),
        "price_per_night": _number(rng, 40, 151, 480),
    }


def _stay(rng: random.Random, hotel: Row) -> Row:
    text, level = review(rng, lexicon.HOTEL_ASPECTS, "breakfast")
    ours = rng.choice(lexicon.HOTEL_ASPECTS)
    return hotel | {
        "guest_review": text,
        "score": _stars(rng, level),
        "traveller": "family" if rng.random() < 0.35 else rng.choice(lexicon.TRAVELLERS),
        "nights": _number(rng, 1, 6, 14),
        "management_reply": _sentence(
            f"Our guests find the {ours} {rng.choice(lexicon.ADJECTIVES[rng.choice((4, 5))])}"
        ),
    }


_MAKERS: Final[dict[str, tuple[Callable[[random.Random], Row], Callable[[random.Random, Row], Row]]]] = {
    "products": (_product, _product_review),
    "movies": (_movie, _movie_review),
    "tickets": (_customer, _ticket),
    "hotels": (_hotel, _stay),
}
