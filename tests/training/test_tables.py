"""The generator of tables: the same seed gives the same rows, and every answer can be read off its row."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from training.language import lexicon, tables, truth
from training.language.questions import Question

ALL_QUESTIONS = [(kind, question) for kind in tables.KINDS for question in tables.questions(kind)]
NAMES = [f"{kind}/{question.name}" for kind, question in ALL_QUESTIONS]
PRODUCT: tables.Row = {
    "parent_asin": "B123A45",
    "product_title": "Zentra compact frying pan",
    "brand": "Zentra",
    "department": "toys",
    "description": "Made of steel, goes well with a red doll.",
    "price": 49,
    "review_title": "Update",
    "review_text": "The size is superb. I found the delivery poor. All in all, not worth the money.",
    "rating": 5,
    "helpful_votes": 3,
    "verified_purchase": True,
}
TICKET: tables.Row = {
    "customer": "Anna Ito",
    "plan": "free",
    "ticket_id": "T1234",
    "message": "This is urgent. My parcel has not arrived. I am fed up with you. I want a refund.",
    "channel": "chat",
    "priority": "low",
    "open_days": 10,
    "agent_note": "closed once",
}


def by_name(kind: str, name: str) -> Question:
    return next(question for question in tables.questions(kind) if question.name == name)


@pytest.mark.parametrize("kind", tables.KINDS)
def test_equal_seeds_give_equal_tables(kind: str) -> None:
    assert tables.make_table(kind, 20, seed=3) == tables.make_table(kind, 20, seed=3)
    assert tables.make_table(kind, 20, seed=3) != tables.make_table(kind, 20, seed=4)


def test_an_unknown_kind_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"known: .*hotels"):
        tables.make_table("cars", 1, seed=0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sentiment", "negative"),
        ("stars", "2"),
        ("positive", "no"),
        ("negative", "yes"),
        ("mentions_delivery", "yes"),
        ("praise", "size"),
        ("blame", "delivery"),
        ("summary", "The reviewer likes the size, dislikes the delivery and is negative overall."),
        ("category", "kitchen"),
        ("is_kitchen", "yes"),
        ("is_toy", "no"),
        ("department_fits", "no"),
        ("rating_fits", "no"),
        ("cheap", "yes"),
        ("high_rating", "yes"),
        ("verified_purchase", "yes"),
        ("card", "Zentra compact frying pan, Zentra, 49"),
        ("extract_price", "49"),
    ],
)
def test_answers_about_a_product(name: str, expected: str) -> None:
    assert tables.answer(PRODUCT, by_name("products", name)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("intent", "shipping"),
        ("sentiment", "negative"),
        ("urgent", "yes"),
        ("refund", "yes"),
        ("is_billing", "no"),
        ("priority_fits", "no"),
        ("old", "yes"),
        ("paying", "no"),
        ("summary", "Anna Ito writes about shipping in a negative tone, urgent: yes."),
    ],
)
def test_answers_about_a_ticket(name: str, expected: str) -> None:
    assert tables.answer(TICKET, by_name("tickets", name)) == expected


@pytest.mark.parametrize(("kind", "question"), ALL_QUESTIONS, ids=NAMES)
def test_a_question_reads_only_its_fields(kind: str, question: Question) -> None:
    for row in tables.make_table(kind, 30, seed=5):
        shown = {field: row[field] for field in question.fields}
        assert tables.answer(shown, question) == tables.answer(row, question)


@pytest.mark.parametrize(("kind", "question"), ALL_QUESTIONS, ids=NAMES)
def test_closed_questions_get_each_of_their_labels(kind: str, question: Question) -> None:
    answers = Counter(tables.answer(row, question) for row in tables.make_table(kind, 600, seed=6))
    if question.labels:
        assert set(answers) == set(question.labels)
    assert len(answers) > 1


def test_some_forms_of_a_closed_question_list_the_labels() -> None:
    listing = [text for text in by_name("products", "category").texts if "Answer one of: kitchen, " in text]
    assert 0 < len(listing) < len(by_name("products", "category").texts)


def test_fields_depend_on_their_entity() -> None:
    rows = tables.make_table("products", 300, seed=8)
    assert len({row["parent_asin"] for row in rows}) < len(rows) / 3
    assert len({(row["parent_asin"], row["brand"], row["price"]) for row in rows}) == len(
        {row["parent_asin"] for row in rows}
    )


def test_prompt_is_the_question_and_one_line_of_json() -> None:
    question, line = tables.prompt("Is it?", PRODUCT, ["rating", "brand"]).split("\n")
    assert question == "Is it?"
    assert list(json.loads(line).items()) == [("rating", 5), ("brand", "Zentra")]


def test_no_word_has_two_meanings() -> None:
    for groups in (lexicon.ADJECTIVES, lexicon.VERDICTS, lexicon.GOODS, lexicon.GENRES, lexicon.INTENTS, lexicon.TONES):
        words = [word.lower() for group in groups.values() for word in group]
        assert len(words) == len(set(words))


@pytest.mark.parametrize("level", lexicon.VERDICTS)
def test_every_verdict_has_its_level(level: int) -> None:
    for verdict in lexicon.VERDICTS[level]:
        assert truth.level(f"The size is good. In short, {verdict}.") == level
