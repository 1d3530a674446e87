"""The cases of ``engines/*.test`` on every SQL engine; see the README beside them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from paceline.errors import PacelineError
from paceline.sql import connect
from paceline.sql.engines import Engine
from tests.sql.fakes import Model

FOLDER = Path(__file__).parent / "engines"
SPARK = [
    pytest.mark.spark,
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),  # no pandas is used
]

REVIEWS = pa.table({
    "id": pa.array([1, 2, 3, 4, 5, 6], pa.int32()),
    "product": pa.array([10, 10, 20, 20, 30, None], pa.int32()),
    "title": ["Kettle", "Kettle", "Lamp", "Lamp", None, ""],
    "review": ["fine and quick", "slow", "fine light", "dim", "fine", "fine and quick"],
    "stars": pa.array([5, 2, 4, 1, 4, 5], pa.int32()),
    "price": pa.array([Decimal("1.50"), Decimal("1.5"), Decimal("20.00"), Decimal("3"), None, Decimal("0.10")], pa.decimal128(6, 2)),
    "day": pa.array([datetime.date(2026, 1, day) for day in range(1, 7)]),
})  # fmt: skip
PRODUCTS = pa.table({
    "id": pa.array([10, 20, 40], pa.int32()),
    "name": ["kettle of steel", "lamp of brass", "broken chair"],
    "kind": ["kitchen", "living", "living"],
})  # fmt: skip


@dataclass
class Record:
    """One case of a file."""

    kind: str  # query | error
    order: str = "nosort"
    sql: str = ""
    expected: list[str] = field(default_factory=list)
    num_asks: int | None = None
    notyet: dict[str, str] = field(default_factory=dict)
    where: str = ""


def read(path: Path) -> Iterator[Record]:
    blocks = path.read_text().split("\n\n")
    line = 1
    for block in blocks:
        lines = [one for one in block.split("\n") if not one.startswith("#")]
        notyet = {}
        while lines and (not lines[0] or lines[0].startswith("notyet ")):
            head = lines.pop(0)
            if head:
                _, engine, reason = head.split(" ", 2)
                notyet[engine] = reason
        if lines:
            kind, _, order = lines[0].partition(" ")
            assert kind in ("query", "error"), f"{path.name}:{line}: {lines[0]!r}"
            cut = lines.index("----")
            expected = lines[cut + 1 :]
            asks = [one for one in expected if one.startswith("asks ")]
            yield Record(
                kind, order or "nosort", "\n".join(lines[1:cut]),
                [one for one in expected if one and one not in asks],
                int(asks[0].split()[1]) if asks else None, notyet, f"{path.stem}:{line}",
            )  # fmt: skip
        line += block.count("\n") + 2


def shown(value: object) -> str:
    match value:
        case None:
            return "NULL"
        case "":
            return "(empty)"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case dict():
            return "{" + ", ".join(f"{name}: {shown(item)}" for name, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(shown, value)) + "]"
    return str(value)


RECORDS = [record for path in sorted(FOLDER.glob("*.test")) for record in read(path)]


def engine_named(name: str, request: pytest.FixtureRequest) -> str | Engine:
    if name != "spark":
        return name
    session = request.getfixturevalue("spark")
    from paceline.sql.engines.spark import Spark

    return Spark(session)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.where)
@pytest.mark.parametrize("name", ["duckdb", pytest.param("spark", marks=SPARK)])
def test_case(name: str, record: Record, request: pytest.FixtureRequest) -> None:
    if name in record.notyet:
        request.applymarker(pytest.mark.xfail(raises=PacelineError, reason=record.notyet[name]))
    model = Model()
    with connect(model, engine=engine_named(name, request), store=False) as con:
        con.register("reviews", REVIEWS)
        con.register("products", PRODUCTS)
        if record.kind == "error":
            with pytest.raises(PacelineError) as caught:
                con.sql(record.sql)
            assert record.expected[0] in str(caught.value)
            return
        rows = ["\t".join(map(shown, row)) for row in con.sql(record.sql).fetchall()]
    expected = record.expected
    if record.order == "rowsort":
        rows, expected = sorted(rows), sorted(expected)
    assert rows == expected
    assert record.num_asks in (None, len(model.asked)), model.asked
