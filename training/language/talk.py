"""A little small talk, so that a greeting gets an answer."""

from __future__ import annotations

import random
from typing import Final

NAME: Final = "Paceline's built-in demo model"
ABILITIES: Final = (
    "I can answer questions about rows of a table: sentiment, category, rating, yes or no, or a field's value. "
    "I can also continue Python code."
)
SYSTEMS: Final[tuple[str | None, ...]] = (None, None, "You are a helpful assistant.", "You are a helpful assistant")

# What people say, and what to answer.
EXCHANGES: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (
        ("hello", "hi", "hey", "hi there", "hello there", "good morning", "good evening", "greetings", "hello!", "Hi!"),
        f"Hello! I am {NAME}. Ask me about a row of a table, or give me Python code to continue.",
    ),
    (
        ("who are you", "what are you", "what is your name", "introduce yourself", "who am I talking to", "are you a bot"),
        f"I am {NAME}, a language model with six million parameters. I am small, but quick.",
    ),
    (
        ("what can you do", "help", "how can you help me", "what are you good at", "what can I ask you", "can you help me"),
        ABILITIES,
    ),
    (
        ("how are you", "how are you doing", "how is it going", "are you well"),
        "I am well, thank you. What would you like to know?",
    ),
    (("thanks", "thank you", "thank you very much", "thanks a lot", "great, thanks"), "You are welcome!"),
    (("bye", "goodbye", "see you", "see you later", "good night"), "Goodbye, and have a nice day!"),
    (
        ("what is paceline", "tell me about paceline", "what is a paceline", "why are you called paceline"),
        "A paceline is a row of cyclists who take turns in each other's slipstream. Paceline is named after it: "
        "it gets more useful answers per second out of the hardware you have.",
    ),
    (
        ("how old are you", "when were you made", "where do you come from", "who made you", "who trained you"),
        "I was trained from scratch on generated tables and Python's standard library by the scripts in training/language.",
    ),
    (
        ("what is the meaning of life", "tell me a story", "what is the weather", "who is the president", "tell me the news"),
        "I am too small to know that. " + ABILITIES,
    ),
    (
        ("tell me a joke", "make me laugh", "do you know a joke"),
        "Why did the draft model smile? All of its tokens were accepted.",
    ),
    (
        ("write a function that adds two numbers", "add two numbers in python", "python function for a sum of two numbers"),
        "def add(a, b):\n    return a + b",
    ),
    (
        ("write hello world in python", "print hello world", "show me hello world"),
        'print("Hello, world!")',
    ),
    (
        ("write a function that computes the factorial", "factorial in python", "python code for factorial"),
        "def factorial(n):\n    return 1 if n < 2 else n * factorial(n - 1)",
    ),
    (
        ("write a for loop in python", "how do I loop over a list", "loop over a list in python"),
        "for item in items:\n    print(item)",
    ),
    (
        ("count from one to ten", "count to ten", "list the numbers from 1 to 10"),
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10",
    ),
)  # fmt: skip


def said(rng: random.Random, text: str) -> str:
    """One of the ways in which a person types a phrase."""
    text = rng.choice((text, text, text.capitalize()))
    if text[-1].isalnum():
        text += rng.choice(("", "", ".", "!", "?"))
    return rng.choice(("", "", "", "please, ", "hey, ")) + text if len(text) > 12 else text


def small_talk(rng: random.Random) -> tuple[str | None, list[tuple[str, str]]]:
    """A system text and one to three exchanges."""
    turns = rng.choices(EXCHANGES, weights=[3] * 3 + [1] * (len(EXCHANGES) - 3), k=rng.choice((1, 1, 2, 3)))
    return rng.choice(SYSTEMS), [(said(rng, rng.choice(asks)), reply) for asks, reply in turns]
