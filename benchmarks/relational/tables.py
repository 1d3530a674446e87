"""Made tables that are shaped like the published ones: rows, fields, dependencies, lengths and repetition.

Fixed seeds; a smaller table keeps its rows per entity, so that it can be shared as well as the full one. Facts stand before what they are
joined with, as in `reviews JOIN movies`: as they come, rows share next to nothing, which is what the published hit rates say of theirs.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa

from benchmarks.relational.maker import Maker

NUM_ROWS: Final = {
    "movies": 15000,
    "products": 14890,
    "bird": 14920,
    "pdmx": 10000,
    "beer": 28479,
    "contributions": 20000,
    "fever": 20000,
    "squad": 22665,
    "scale": 1_000_000,
}
DEPENDENT: Final = {  # fields that determine each other, as the published runs declare them
    "movies": (("movieinfo", "movietitle", "rottentomatoeslink"),),
    "products": (("parent_asin", "product_title", "description"),),
    "bird": (("Body", "PostId"),),
    "pdmx": (("metadata", "path"), tuple(f"has_{k}" for k in range(6))),
    "beer": (("beer/beerId", "beer/name"),),
}
CONTEXTS: Final = {  # fields of one kind, whose order means nothing
    "fever": tuple(f"evidence{k}" for k in range(1, 5)),
    "squad": tuple(f"context{k}" for k in range(1, 6)),
}


def read_csv(path: str) -> pa.Table:
    """A table of a user's own; every cell as it is written."""
    with open(path, newline="", encoding="utf-8") as file:
        names, *cells = csv.reader(file)
    return pa.table({name: pa.array([row[place] for row in cells]) for place, name in enumerate(names)})


def make(name: str, num_rows: int | None = None) -> pa.Table:
    """The table ``name``, as large as the published one or of ``num_rows`` rows, its rows in no order; a CSV file's, if
    ``name`` is its path.

    >>> make("bird", 100).column_names
    ['Text', 'CreationDate', 'Body', 'PostId']
    """
    if name.endswith(".csv"):
        return read_csv(name)
    rows = num_rows or NUM_ROWS[name]
    maker = Maker(np.random.default_rng(sorted(NUM_ROWS).index(name)), rows, rows / NUM_ROWS[name])
    columns = _TABLES[name](maker)
    assert all(len(column) == rows for column in columns.values())
    return pa.table(columns)


Columns = dict[str, pa.Array]


def _movies(make: Maker) -> Columns:
    num_movies = make.count(700)
    movie = make.popular(num_movies, 0.6)
    studio = make.popular(make.count(180), 0.4, num_movies)
    genre = make.popular(make.count(90), 0.4, num_movies)
    return {
        "reviewcontent": make.unique_texts(125),
        "reviewtype": make.column(make.rng.random(make.num_rows) < 0.38, ["Fresh", "Rotten"]),
        "topcritic": make.column(make.rng.random(make.num_rows) < 0.25, [False, True]),
        "movieinfo": make.column(movie, make.texts(num_movies, 560)),
        "movietitle": make.column(movie, make.texts(num_movies, 18)),
        "rottentomatoeslink": make.column(movie, make.texts(num_movies, 24, prefix="m/")),
        "productioncompany": make.column(studio[movie], make.texts(make.count(180), 20)),
        "genres": make.column(genre[movie], make.texts(make.count(90), 26)),
    }


def _products(make: Maker) -> Columns:
    num_products = make.count(900)
    product = make.popular(num_products, 0.6)
    stars = make.rng.choice(5, make.num_rows, p=[0.08, 0.05, 0.08, 0.15, 0.64])
    return {
        "text": make.unique_texts(210),
        "title": make.unique_texts(22),
        "rating": make.column(stars, [1.0, 2.0, 3.0, 4.0, 5.0]),
        "verified_purchase": make.column(make.rng.random(make.num_rows) < 0.1, [True, False]),
        "id": make.unique_numbers(100_000, 7),
        "description": make.column(product, make.texts(num_products, 760)),
        "product_title": make.column(product, make.texts(num_products, 90)),
        "parent_asin": make.column(product, make.texts(num_products, 10, prefix="B0")),
    }


def _bird(make: Maker) -> Columns:
    num_posts = make.count(1300)
    post = make.popular(num_posts, 0.6)
    return {
        "Text": make.unique_texts(220),
        "CreationDate": make.column(make.popular(make.count(9000), 0.1), make.texts(make.count(9000), 19, "2010-")),
        "Body": make.column(post, make.texts(num_posts, 2400)),
        "PostId": make.column(post, range(1000, 1000 + num_posts)),
    }


def _pdmx(make: Maker) -> Columns:
    num_rows, rng = make.num_rows, make.rng
    columns = {name: make.unique_texts(chars) for name, chars in (("path", 60), ("metadata", 60))}
    lyrics = rng.random(num_rows) < 0.35
    columns |= {f"has_{k}": make.column(lyrics ^ bool(k % 2), [False, True]) for k in range(6)}
    columns |= {f"is_{k}": make.column(rng.random(num_rows) < share, [False, True]) for k, share in enumerate(_SHARES)}
    columns |= {
        f"rate_{k}": make.drawn([round(x, 6) for x in rng.random(make.count(900 * k + 40))], 0.9) for k in range(5)
    }
    columns |= {f"n_{k}": make.drawn(range(make.count(60 * (k + 1))), 1.2) for k in range(12)}
    for name, num_values, chars in (
        ("artist", 2600, 16),
        ("composer", 1700, 18),
        ("publisher", 40, 30),
        ("tags", 300, 40),
    ):
        code = make.popular(make.count(num_values), 1.0)
        columns[f"{name}_name"] = make.column(code, make.texts(make.count(num_values), chars))
    for name, num_values, chars in (("genres", 60, 20), ("groups", 200, 30)):
        columns[name] = make.drawn(make.texts(make.count(num_values), chars), 1.3)
    licence = make.popular(make.count(8), 1.5)
    columns["license"] = make.column(licence, make.texts(make.count(8), 30))
    columns["license_url"] = make.column(licence, make.texts(make.count(8), 50, prefix="https://"))
    columns |= {name: make.unique_texts(chars) for name, chars in (("title", 40), ("song_name", 40), ("text", 700))}
    return columns | {"date": make.unique_texts(19), "id": make.unique_numbers(1, 3)}


_SHARES: Final = np.linspace(0.02, 0.5, 19).tolist()


def _beer(make: Maker) -> Columns:
    """A beer has a level and a style; tasters differ around the level and taste many beers on one day."""
    num_beers, num_tasters, num_days = make.count(1700), make.count(2600), make.count(3600)
    beer, rng = make.popular(num_beers, 0.8), make.rng
    taster = make.popular(num_tasters, 1.0)
    level = rng.normal(0.62, 0.11, num_beers)[beer] + rng.normal(0.0, 0.05, num_tasters)[taster]

    def rated(top: int, spread: float) -> pa.Array:
        score = np.clip(np.rint((level + rng.normal(0.0, spread, make.num_rows)) * top), 1, top).astype(int)
        return make.column(score - 1, [f"{k}/{top}" for k in range(1, top + 1)])

    style = make.popular(make.count(88), 0.7, num_beers)
    return {
        "beer/beerId": make.column(beer, range(10_000, 10_000 + num_beers)),
        "beer/name": make.column(beer, make.texts(num_beers, 24)),
        "beer/style": make.column(style[beer], make.texts(make.count(88), 20)),
        "review/appearance": rated(5, 0.09),
        "review/overall": rated(20, 0.08),
        "review/palate": rated(5, 0.09),
        "review/profileName": make.column(taster, make.texts(num_tasters, 9)),
        "review/taste": rated(10, 0.08),
        "review/time": make.column(
            (taster * 31 + make.popular(num_days, 0.6)) % num_days, range(10**9, 10**9 + 86400 * num_days, 86400)
        ),
    }


def _contributions(make: Maker) -> Columns:
    """Givers give several times, to few committees of one party, from one place and one employer."""
    num_givers, num_cities = make.count(9000), make.count(900)
    giver = make.popular(num_givers, 0.7)
    city, job = make.popular(num_cities, 0.9, num_givers), make.popular(make.count(1200), 0.9, num_givers)
    employer = make.popular(make.count(3500), 0.8, num_givers)
    committee = (make.popular(make.count(60), 1.1, num_givers)[giver] + make.popular(4, 2.0)) % make.count(60)
    return {
        "contributor": make.column(giver, make.texts(num_givers, 18)),
        "city": make.column(city[giver], make.texts(num_cities, 11)),
        "state": make.column((city % 50)[giver], make.texts(50, 5)),
        "zip": make.column(city[giver] * 3 + giver % 3, range(10_000, 10_000 + 3 * num_cities)),
        "employer": make.column(employer[giver], make.texts(make.count(3500), 20)),
        "occupation": make.column(job[giver], make.texts(make.count(1200), 14)),
        "committee": make.column(committee, make.texts(make.count(60), 32)),
        "date": make.drawn(range(20_200_000, 20_200_000 + make.count(700)), 0.5),
        "amount": make.drawn([5 * k for k in range(1, make.count(150) + 1)], 1.2),
        "memo": make.drawn(["", *make.texts(make.count(40), 25)], 2.0),
    }


def _retrieved(
    make: Maker, table: str, asked: str, num_topics: int, doc_chars: int, asked_chars: int, spread: float
) -> Columns:
    """A text and documents found for it, the most alike first: of the six of its topic, in an order with some chance."""
    topics = make.count(num_topics)
    documents = make.texts(topics * 6, doc_chars)
    topic = make.popular(topics, 0.5)
    score = make.rng.gumbel(size=(make.num_rows, 6)) - np.arange(6) * spread
    found = np.argsort(-score, axis=1)[:, : len(CONTEXTS[table])] + topic[:, None] * 6
    contexts = zip(CONTEXTS[table], found.T, strict=True)
    return {asked: make.unique_texts(asked_chars)} | {name: make.column(codes, documents) for name, codes in contexts}


def _fever(make: Maker) -> Columns:
    return _retrieved(make, "fever", "claim", 1200, doc_chars=1150, asked_chars=50, spread=0.5)


def _squad(make: Maker) -> Columns:
    return _retrieved(make, "squad", "question", 400, doc_chars=780, asked_chars=60, spread=0.8)


def _scale(make: Maker) -> Columns:
    """An entity with four levels above each other, ten categories, three fields of many values and three unique ones."""
    num_entities = make.count(20_000)
    level = make.popular(num_entities, 0.6)
    columns = {}
    for k, chars in enumerate((40, 24, 16, 10)):
        num_values = max(2, num_entities // 10**k)
        columns[f"level_{k}"] = make.column(level, make.texts(num_values, chars))
        level = level // 10 % max(2, num_entities // 10 ** (k + 1))
    for k in range(10):
        columns[f"category_{k}"] = make.drawn(make.texts(2 + k * k, 8 + k), 0.7)
    for k, num_values in enumerate((1000, 4000, 10_000)):
        columns[f"many_{k}"] = make.drawn(make.texts(num_values, 14), 0.5)
    for k in range(3):
        columns[f"unique_{k}"] = make.unique_numbers(10**8 * (k + 1), 13)
    return columns


_TABLES: Final[dict[str, Callable[[Maker], Columns]]] = {
    "movies": _movies,
    "products": _products,
    "bird": _bird,
    "pdmx": _pdmx,
    "beer": _beer,
    "contributions": _contributions,
    "fever": _fever,
    "squad": _squad,
    "scale": _scale,
}
