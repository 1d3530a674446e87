"""The questions that can be asked about each kind of table, each with its paraphrases and its right answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from training.language import lexicon, truth
from training.language.truth import Row, text_of, yes

YES_NO: Final = ("yes", "no")
SENTIMENTS: Final = ("positive", "negative", "neutral")
STARS: Final = ("1", "2", "3", "4", "5")


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one row. `texts[0]` is its plain form; the others say the same."""

    name: str
    task: str  # sentiment | category | filter | consistency | rating | aspect | extract | summary
    fields: tuple[str, ...]  # what must be read
    texts: tuple[str, ...]
    labels: tuple[str, ...]  # the allowed answers; empty for free text
    truth: Callable[[Row], str]


def choice(
    name: str, task: str, field: str, asks: Sequence[str], labels: tuple[str, ...], read: Callable[[str], str]
) -> Question:
    """A question with a closed list of answers; half of its forms list them."""
    texts = [form for ask in asks for form in (f"{ask} Answer one of: {', '.join(labels)}.", ask)]
    return Question(name, task, (field,), tuple(texts), labels, lambda row: read(str(row[field])))


def check(
    name: str, fields: tuple[str, ...], asks: Sequence[str], holds: Callable[[Row], bool], task: str = "filter"
) -> Question:
    """A question whose answer is yes or no."""
    forms = [form for ask in asks for form in (f"{ask} Answer yes or no.", ask, f"{ask} Answer one of: yes, no.")]
    return Question(name, task, fields, tuple(forms), YES_NO, lambda row: yes(holds(row)))


def extract(field: str) -> Question:
    """A question for the value of one field, as it stands."""
    spoken = field.replace("_", " ")
    asks = (
        f"What is the {spoken}?",
        f"Return the value of {field}.",
        f"Give the {spoken} only.",
        f"Extract the field {field}.",
        f"Which {spoken} does the row have?",
    )
    return Question(f"extract_{field}", "extract", (field,), asks, (), lambda row: text_of(row[field]))


def review(field: str, mentions: str) -> tuple[Question, ...]:
    """The questions that every table with a review answers."""
    spoken = field.replace("_", " ")
    asks = (
        f"What is the sentiment of the {spoken}?",
        f"Classify the sentiment of {field}.",
        f"How does the {spoken} sound?",
    )
    stars = (
        f"How many stars from 1 to 5 fit the {spoken}?",
        f"Rate the {spoken} from 1 to 5.",
        f"Score {field} from 1 to 5.",
    )
    recommend = (
        f"Is the {spoken} positive?",
        f"Does the {spoken} sound happy?",
        f"Keep only rows whose {field} is positive.",
    )
    angry = (f"Is the {spoken} negative?", f"Does the {spoken} sound unhappy?")
    return (
        choice("sentiment", "sentiment", field, asks, SENTIMENTS, truth.sentiment),
        choice("stars", "rating", field, stars, STARS, lambda text: str(truth.level(text))),
        check("positive", (field,), recommend, lambda row: truth.level(str(row[field])) >= 4),
        check("negative", (field,), angry, lambda row: truth.level(str(row[field])) <= 2),
        check(
            f"mentions_{mentions}",
            (field,),
            (f"Does the {spoken} mention the {mentions}?", f"Is the {mentions} mentioned in {field}?"),
            lambda row: f"the {mentions} " in str(row[field]).lower(),
        ),
        aspect(
            "praise",
            field,
            (f"Which aspect does the {spoken} praise first?", "What does the reviewer like first?"),
            truth.praised,
        ),
        aspect(
            "blame",
            field,
            (f"Which aspect does the {spoken} criticise first?", "What does the reviewer dislike first?"),
            truth.blamed,
        ),
        Question(
            "summary",
            "summary",
            (field,),
            (f"Summarize the {spoken} in one sentence.", f"Write a one-sentence summary of {field}."),
            (),
            lambda row: truth.summary(str(row[field])),
        ),
    )


def aspect(name: str, field: str, asks: Sequence[str], read: Callable[[str], list[str]]) -> Question:
    texts = tuple(form for ask in asks for form in (f"{ask} Answer none if there is none.", ask))
    return Question(name, "aspect", (field,), texts, (), lambda row: (read(str(row[field])) or ["none"])[0])


def joined(name: str, fields: tuple[str, ...], ask: str) -> Question:
    """A question that copies several fields in a fixed order."""
    return Question(name, "extract", fields, (ask,), (), lambda row: ", ".join(text_of(row[field]) for field in fields))


def number(name: str, field: str, asks: Sequence[str], holds: Callable[[int], bool]) -> Question:
    return check(name, (field,), asks, lambda row: holds(int(row[field])))


def flag(field: str, asks: Sequence[str]) -> Question:
    return check(field, (field,), asks, lambda row: bool(row[field]))


PRODUCTS: Final[tuple[Question, ...]] = (
    *review("review_text", "delivery"),
    choice("category", "category", "product_title",
           ("Which category does the product title belong to?", "What kind of product is it, by its product_title?"),
           tuple(lexicon.GOODS), truth.category),
    check("is_kitchen", ("product_title",), ("Is the product for the kitchen?", "Is product_title a kitchen product?"),
          lambda row: truth.category(str(row["product_title"])) == "kitchen"),
    check("is_toy", ("product_title",), ("Is the product a toy?", "Does product_title name a toy?"),
          lambda row: truth.category(str(row["product_title"])) == "toys"),
    check("department_fits", ("department", "product_title"),
          ("Does the department fit the product title?", "Is the listed department right for the product?"),
          lambda row: row["department"] == truth.category(str(row["product_title"])), "consistency"),
    check("rating_fits", ("rating", "review_text"),
          ("Does the rating agree with the review text?", "Is rating consistent with review_text?"),
          lambda row: abs(int(row["rating"]) - truth.level(str(row["review_text"]))) <= 1, "consistency"),
    number("cheap", "price", ("Is the price below 50?", "Does it cost less than 50?"), lambda price: price < 50),
    number("high_rating", "rating", ("Is the rating at least 4?", "Did the customer give 4 or more stars?"), lambda stars: stars >= 4),
    flag("verified_purchase", ("Is it a verified purchase?", "Was the purchase verified?")),
    joined("card", ("product_title", "brand", "price"), "List product_title, brand and price, separated by commas."),
    *map(extract, ("product_title", "brand", "price", "parent_asin", "rating", "helpful_votes", "department", "description")),
)  # fmt: skip

MOVIES: Final[tuple[Question, ...]] = (
    *review("review_content", "plot"),
    choice("genre", "category", "movie_info",
           ("What is the genre of the story in movie info?", "Classify the genre by movie_info."),
           tuple(lexicon.GENRES), truth.genre),
    check("for_children", ("movie_info",), ("Is the movie suitable for children?", "Can kids watch it, by movie_info?"),
          lambda row: truth.for_children(str(row["movie_info"]))),
    check("is_horror", ("movie_info",), ("Is it a horror movie, by movie_info?", "Does movie_info tell a horror story?"),
          lambda row: truth.genre(str(row["movie_info"])) == "horror"),
    check("genre_fits", ("listed_genre", "movie_info"),
          ("Does the listed genre fit the movie info?", "Is listed_genre right for movie_info?"),
          lambda row: row["listed_genre"] == truth.genre(str(row["movie_info"])), "consistency"),
    check("review_type_fits", ("review_type", "review_content"),
          ("Does the review type agree with the review content?", "Is review_type consistent with review_content?"),
          lambda row: (row["review_type"] == "Fresh") == (truth.level(str(row["review_content"])) >= 4), "consistency"),
    number("old", "release_year", ("Was it released before 2000?", "Is the release year before 2000?"), lambda year: year < 2000),
    number("long", "runtime_minutes", ("Is it longer than 120 minutes?", "Does it run more than two hours?"), lambda run: run > 120),
    flag("top_critic", ("Is it by a top critic?", "Is the critic a top critic?")),
    joined("card", ("movie_title", "release_year", "director"), "List movie_title, release_year and director, separated by commas."),
    *map(extract, ("movie_title", "director", "release_year", "runtime_minutes", "critic_name", "review_type", "listed_genre",
                   "movie_info")),
)  # fmt: skip

TICKETS: Final[tuple[Question, ...]] = (
    choice("intent", "category", "message",
           ("What is the message about?", "Classify the intent of message.", "Which team should handle the message?"),
           tuple(lexicon.INTENTS), truth.intent),
    choice("sentiment", "sentiment", "message",
           ("What is the tone of the message?", "What is the sentiment of the message?", "Classify the sentiment of message."),
           SENTIMENTS, truth.tone),
    check("urgent", ("message",), ("Is the message urgent?", "Does the customer need help at once?"),
          lambda row: truth.urgent(str(row["message"]))),
    check("refund", ("message",), ("Does the customer ask for a refund?", "Is a refund requested in message?"),
          lambda row: truth.wants_refund(str(row["message"]))),
    check("is_billing", ("message",), ("Is the message about billing?", "Does message report a billing problem?"),
          lambda row: truth.intent(str(row["message"])) == "billing"),
    check("negative", ("message",), ("Is the customer angry?", "Is the tone of the message negative?"),
          lambda row: truth.tone(str(row["message"])) == "negative"),
    check("priority_fits", ("priority", "message"),
          ("Does the priority fit the message?", "Is priority high exactly when message is urgent?"),
          lambda row: (row["priority"] == "high") == truth.urgent(str(row["message"])), "consistency"),
    number("old", "open_days", ("Is the ticket open for more than 9 days?", "Is open_days above 9?"), lambda days: days > 9),
    check("paying", ("plan",), ("Is it a paying customer?", "Is the plan other than free?"), lambda row: row["plan"] != "free"),
    Question("summary", "summary", ("customer", "message"),
             ("Summarize the ticket in one sentence.", "Write a one-sentence summary of the ticket."), (),
             lambda row: f"{row['customer']} writes about {truth.intent(str(row['message']))} in a"
             f" {truth.tone(str(row['message']))} tone, urgent: {yes(truth.urgent(str(row['message'])))}."),
    joined("card", ("ticket_id", "customer", "channel"), "List ticket_id, customer and channel, separated by commas."),
    *map(extract, ("ticket_id", "customer", "channel", "priority", "plan", "open_days", "agent_note")),
)  # fmt: skip

HOTELS: Final[tuple[Question, ...]] = (
    *review("guest_review", "breakfast"),
    choice("country", "category", "city", ("In which country is the city?", "Which country does city belong to?"),
           tuple(dict.fromkeys(lexicon.CITIES.values())), lambda city: lexicon.CITIES[city]),
    check("in_europe", ("city",), ("Is the hotel in Europe?", "Is the city in Europe?"),
          lambda row: truth.in_europe(lexicon.CITIES[str(row["city"])])),
    check("score_fits", ("score", "guest_review"),
          ("Does the score agree with the guest review?", "Is score consistent with guest_review?"),
          lambda row: abs(int(row["score"]) - truth.level(str(row["guest_review"]))) <= 1, "consistency"),
    number("expensive", "price_per_night", ("Is the price per night above 150?", "Does a night cost more than 150?"),
           lambda price: price > 150),
    number("long_stay", "nights", ("Did the guest stay more than 5 nights?", "Is nights above 5?"), lambda nights: nights > 5),
    check("with_family", ("traveller",), ("Did the guest travel with family?", "Is traveller a family?"),
          lambda row: row["traveller"] == "family"),
    joined("card", ("hotel_name", "city", "price_per_night"), "List hotel_name, city and price_per_night, separated by commas."),
    *map(extract, ("hotel_name", "city", "traveller", "nights", "price_per_night", "score", "management_reply")),
)  # fmt: skip

QUESTIONS: Final[dict[str, tuple[Question, ...]]] = {
    "products": PRODUCTS, "movies": MOVIES, "tickets": TICKETS, "hotels": HOTELS,
}  # fmt: skip
