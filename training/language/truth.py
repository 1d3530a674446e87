"""What a generated row says: the right answers, read off the row's own fields by the lists of `lexicon`."""

from __future__ import annotations

from typing import Final, TypeAlias

from training.language import lexicon

Value: TypeAlias = str | int | bool
Row: TypeAlias = dict[str, Value]

_VERDICT_LEVELS: Final[tuple[tuple[str, int], ...]] = tuple(
    sorted(
        ((verdict.lower(), level) for level, verdicts in lexicon.VERDICTS.items() for verdict in verdicts),
        key=lambda pair: -len(pair[0]),  # "not worth the money" before "worth the money"
    )
)
_ADJECTIVE_LEVELS: Final = {word: level for level, words in lexicon.ADJECTIVES.items() for word in words}
_ASPECTS: Final[tuple[str, ...]] = tuple(
    sorted({*lexicon.GOODS_ASPECTS, *lexicon.FILM_ASPECTS, *lexicon.HOTEL_ASPECTS}, key=len, reverse=True)
)
_CATEGORY_OF: Final = {noun: category for category, nouns in lexicon.GOODS.items() for noun in nouns}
_EUROPE: Final = frozenset({"France", "Germany", "Italy", "Spain"})


def sentences(text: str) -> list[str]:
    """
    >>> sentences("The size is good. In short, I love it.")
    ['The size is good', 'In short, I love it']
    """
    return [sentence.strip() for sentence in text.rstrip(". ").split(". ") if sentence.strip()]


def level(text: str) -> int:
    """How content the writer is, 1 (angry) to 5 (delighted): the closing sentence decides.

    >>> level("The size is superb. All in all, not worth the money.")
    2
    """
    closing = sentences(text)[-1].lower()
    return next(level for verdict, level in _VERDICT_LEVELS if verdict in closing)


def opinions(text: str) -> list[tuple[str, int]]:
    """Each aspect that the text judges, with the level of its adjective, in the text's order.

    >>> opinions("The size is superb. I found the finish poor. I love it.")
    [('size', 5), ('finish', 2)]
    """
    found: list[tuple[str, int]] = []
    for sentence in sentences(text.lower()):
        aspect = next((aspect for aspect in _ASPECTS if f"the {aspect} " in sentence), None)
        adjective = next((word for word in sentence.split() if word in _ADJECTIVE_LEVELS), None)
        if aspect is not None and adjective is not None:
            found.append((aspect, _ADJECTIVE_LEVELS[adjective]))
    return found


def sentiment(text: str) -> str:
    return ("negative", "negative", "neutral", "positive", "positive")[level(text) - 1]


def praised(text: str) -> list[str]:
    return [aspect for aspect, level in opinions(text) if level >= 4]


def blamed(text: str) -> list[str]:
    return [aspect for aspect, level in opinions(text) if level <= 2]


def summary(text: str) -> str:
    """One sentence that names every praised and every blamed aspect.

    >>> summary("The size is superb. I found the finish poor. I love it.")
    'The reviewer likes the size, dislikes the finish and is positive overall.'
    """
    parts = [f"likes the {' and the '.join(praised(text))}"] if praised(text) else []
    parts += [f"dislikes the {' and the '.join(blamed(text))}"] if blamed(text) else []
    start = f"{', '.join(parts)} and" if parts else ""
    return f"The reviewer {start} is {sentiment(text)} overall.".replace("  ", " ")


def yes(holds: bool) -> str:
    return "yes" if holds else "no"


def text_of(value: Value) -> str:
    """A field's value as an answer spells it: JSON's spelling without the quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def category(title: str) -> str:
    """
    >>> category("Zentra compact frying pan")
    'kitchen'
    """
    return next(category for noun, category in _CATEGORY_OF.items() if title.endswith(" " + noun))


def genre(info: str) -> str:
    return next(genre for genre, stories in lexicon.GENRES.items() if any(story in info for story in stories))


def for_children(info: str) -> bool:
    return any(info.rstrip(".").endswith(phrase) for phrase in lexicon.FAMILY)


def intent(message: str) -> str:
    spoken = message.lower()
    return next(name for name, causes in lexicon.INTENTS.items() if any(cause.lower() in spoken for cause in causes))


def tone(message: str) -> str:
    spoken = message.lower()
    return next(name for name, marks in lexicon.TONES.items() if any(mark.lower() in spoken for mark in marks))


def urgent(message: str) -> bool:
    return any(phrase.lower() in message.lower() for phrase in lexicon.URGENT)


def wants_refund(message: str) -> bool:
    return any(phrase.lower() in message.lower() for phrase in lexicon.REFUND)


def in_europe(country: str) -> bool:
    return country in _EUROPE
