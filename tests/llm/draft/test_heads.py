"""Draft heads against their formula, and what happens to files that are broken or stale."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from paceline.errors import ModelError
from paceline.llm import native
from paceline.llm.config import EngineConfig
from paceline.llm.draft.heads import FILE, METADATA, VERSION, DraftHeads, fingerprint, make
from paceline.llm.draft.proposer import PROPOSERS, Context, Setup
from paceline.llm.draft.tree import NO_DRAFT, DraftTree, defect
from paceline.llm.model.checkpoint import open_weights
from paceline.llm.model.families import read_config
from paceline.llm.model.tensorfile import wide
from tests.llm.folders import write_folder

VOCAB, HIDDEN, WIDTH, INNER, COUNT = 384, 64, 8, 12, 5
SHAPES = {
    "read": (WIDTH, HIDDEN), "read_bias": (WIDTH,), "into": (WIDTH, HIDDEN), "up": (INNER, WIDTH), "up_bias": (INNER,),
    "down": (WIDTH, INNER), "out": (VOCAB + 1, WIDTH), "bias": (VOCAB, COUNT + 1),
}  # fmt: skip


def arrays(seed: int = 0) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    values: dict[str, NDArray[Any]] = {
        name: (rng.standard_normal(shape) * 0.4).astype(np.float16) for name, shape in SHAPES.items()
    }
    values["followers"] = np.argsort(rng.random((VOCAB, VOCAB)), axis=1)[:, :COUNT].astype(np.uint16)
    return values


def write_heads(folder: Path, values: dict[str, NDArray[Any]], **about: Any) -> None:
    target = fingerprint(open_weights(folder, read_config(folder)))
    whole = {"version": VERSION, "target": target, "width": WIDTH, "inner": INNER, "followers": COUNT} | about
    header: dict[str, Any] = {"__metadata__": {METADATA: json.dumps(whole)}}
    offset, kinds = 0, {"float16": "F16", "uint16": "U16", "float32": "F32"}
    for name, array in values.items():
        end = offset + array.nbytes
        header[name] = {"dtype": kinds[array.dtype.name], "shape": array.shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    body = b"".join(array.tobytes() for array in values.values())
    (folder / FILE).write_bytes(len(text).to_bytes(8, "little") + text + body)


def setup(folder: Path) -> Setup:
    return Setup(EngineConfig(model=str(folder)), read_config(folder), folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_folder(tmp_path_factory.mktemp("target"), "qwen3", "bfloat16")
    write_heads(folder, arrays())
    return folder


@pytest.fixture(scope="module", params=["numpy", "kernels"])
def heads(folder: Path, request: pytest.FixtureRequest) -> DraftHeads:
    if request.param == "kernels" and native.obstacle():
        pytest.skip(f"{native.obstacle()}")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "numpy":
            patch.setattr(native, "obstacle", lambda: "a test")
        made = make(setup(folder))
    assert made is not None
    return made


def contexts(count: int, seed: int = 3) -> list[Context]:
    rng = np.random.default_rng(seed)
    return [
        Context([1, int(rng.integers(VOCAB))], 1, hidden=rng.standard_normal(HIDDEN).astype(np.float32))
        for _ in range(count)
    ]


def by_formula(folder: Path, context: Context, depth: int) -> tuple[list[int], list[float], tuple[int, float]]:
    """The chain, its survival, and the second guess at its first token."""
    values = {name: array.astype(np.float64) for name, array in arrays().items()}
    embed = wide(open_weights(folder, read_config(folder)).embed).astype(np.float64)
    assert context.hidden is not None
    state, token, alive = values["read"] @ context.hidden + values["read_bias"], context.tokens[-1], 1.0
    chain: list[int] = []
    survival: list[float] = []
    leaf = (0, 0.0)
    for level in range(depth):
        state = state + values["into"] @ embed[token]
        state = state + values["down"] @ np.maximum(values["up"] @ state + values["up_bias"], 0)
        followers = [*values["followers"][token].astype(int).tolist(), VOCAB]
        scores = values["out"][followers] @ state + values["bias"][token]
        chances = np.exp(scores) / np.exp(scores).sum()
        ranked = np.argsort(-chances[:-1])
        if level == 0:
            leaf = followers[ranked[1]], float(chances[ranked[1]])
        token, alive = followers[ranked[0]], alive * float(chances[ranked[0]])
        chain.append(token)
        survival.append(alive)
    return chain, survival, leaf


def test_the_heads_follow_their_formula(folder: Path, heads: DraftHeads) -> None:
    asked = contexts(21)
    for context, tree in zip(asked, heads.propose(asked, 3), strict=True):
        assert defect(tree, VOCAB, 3) is None
        chain, survival, leaf = by_formula(folder, context, 3)
        deep = sum(value >= 0.02 for value in survival)
        assert tree.tokens[:deep] == tuple(chain[:deep])
        assert tree.survival[:deep] == pytest.approx(survival[:deep], rel=1e-3)
        likely = leaf[1] >= 0.02
        assert tree.parents == (*range(-1, deep - 1), *[-1] * likely)
        assert tree.tokens[deep:] == (leaf[0],) * likely
        assert tree.survival[deep:] == pytest.approx((leaf[1],) * likely, rel=1e-3)


def test_company_changes_nothing(heads: DraftHeads) -> None:
    asked = contexts(19)
    together = heads.propose(asked, 4)
    for context, tree in zip(asked, together, strict=True):
        (alone,) = heads.propose([context], 4)
        assert alone.tokens == tree.tokens
        assert alone.survival == pytest.approx(tree.survival, rel=1e-4)


def test_survival_never_rises_along_the_chain(heads: DraftHeads) -> None:
    for tree in heads.propose(contexts(30), 8):
        assert defect(tree, VOCAB, 8) is None
        chain = [value for node, value in enumerate(tree.survival) if tree.parents[node] == node - 1]
        assert chain == sorted(chain, reverse=True)
        assert all(value >= 0.02 for value in tree.survival)


def test_no_draft_without_a_state(heads: DraftHeads) -> None:
    known, unknown = contexts(1)[0], Context([1, 2], 2)
    assert heads.propose([], 4) == []
    assert heads.propose([unknown], 4) == [NO_DRAFT]
    trees = heads.propose([unknown, known, unknown], 4)
    assert [len(tree) > 0 for tree in trees] == [False, True, False]
    assert trees[1:2] == heads.propose([known], 4)


@pytest.mark.parametrize("depth", [1, 2, 500])
def test_depth_is_kept(heads: DraftHeads, depth: int) -> None:
    for tree in heads.propose(contexts(5), depth):
        assert defect(tree, VOCAB, depth) is None


def test_a_state_that_is_not_a_number_is_a_defect(heads: DraftHeads) -> None:
    broken, sound = contexts(2)
    broken.hidden = np.full(HIDDEN, np.nan, np.float32)
    bad, good = heads.propose([broken, sound], 2)
    assert isinstance(bad, DraftTree)
    assert bad == NO_DRAFT or defect(bad, VOCAB, 2) is not None
    assert defect(good, VOCAB, 2) is None
    assert len(good) > 0


def test_a_token_that_the_model_does_not_have_is_an_error(heads: DraftHeads) -> None:
    broken, sound = contexts(2)
    broken.tokens.append(VOCAB + 5)
    with pytest.raises((AssertionError, IndexError)):
        heads.propose([sound, broken], 2)
    assert len(heads.propose([sound], 2)[0]) > 0


def test_nothing_else_to_do(heads: DraftHeads) -> None:
    context = contexts(1)[0]
    assert heads.wants_hidden
    assert heads.catch_up([context, context]) == [(0, 0), (0, 0)]
    assert heads.num_missed(context) == 0
    heads.finish(context)
    heads.close()


def test_registered_and_absent_without_a_file(tmp_path: Path) -> None:
    assert PROPOSERS["heads"](setup(write_folder(tmp_path, "llama"))) is None


def test_heads_of_other_weights_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_folder(tmp_path, "qwen3", seed=1)
    write_heads(folder, arrays())
    write_folder(tmp_path, "qwen3", seed=2)
    with caplog.at_level(logging.WARNING):
        assert make(setup(folder)) is None
    assert "trained on other weights" in caplog.text


def without(name: str) -> dict[str, NDArray[Any]]:
    return {key: array for key, array in arrays().items() if key != name}


BROKEN: list[tuple[dict[str, NDArray[Any]], dict[str, Any], str]] = [
    (without("down"), {}, "tensor down is missing"),
    (without("followers"), {}, "tensor followers is missing"),
    (arrays(), {"version": VERSION + 1}, "format version"),
    (arrays(), {"version": "new"}, "version must be an integer"),
    (arrays(), {"width": WIDTH + 1}, "has shape"),
    (arrays(), {"inner": 0}, "inner must be an integer"),
    (arrays(), {"followers": None}, "followers must be an integer"),
    (arrays() | {"followers": np.full((VOCAB, COUNT), VOCAB, np.uint16)}, {}, "names token 384"),
    (arrays() | {"followers": np.zeros((VOCAB, COUNT), np.float16)}, {}, "U16 or U32"),
    (arrays() | {"up": arrays()["followers"]}, {}, "only F32, F16 and BF16"),
    (arrays() | {"bias": np.full(SHAPES["bias"], np.nan, np.float16)}, {}, "not finite"),
]


@pytest.mark.parametrize(("values", "about", "message"), BROKEN, ids=[case[2] for case in BROKEN])
def test_a_broken_file_says_what_is_wrong(
    tmp_path: Path, values: dict[str, NDArray[Any]], about: dict[str, Any], message: str
) -> None:
    folder = write_folder(tmp_path, "qwen3")
    write_heads(folder, values, **about)
    with pytest.raises(ModelError, match=message) as caught:
        make(setup(folder))
    assert FILE in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", (2).to_bytes(8, "little") + b"{}"])
def test_another_kind_of_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    folder = write_folder(tmp_path, "qwen3")
    (folder / FILE).write_bytes(content)
    with pytest.raises(ModelError, match=FILE):
        make(setup(folder))
