"""The proposer's limits, what it says of itself while catching up, and which draft models it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import ConfigError
from paceline.llm.config import EngineConfig
from paceline.llm.draft import model
from paceline.llm.draft.model import CATCH_UP_ROWS, make, pool_blocks
from paceline.llm.draft.proposer import Setup
from paceline.llm.draft.tree import NO_DRAFT, defect
from paceline.llm.model.families import read_config
from paceline.llm.rows import BLOCK_SIZE
from tests.llm.draft.drafting import (
    LENGTH,
    PROMPT,
    Noise,
    Oracle,
    V,
    chain_of,
    check_tree,
    context,
    proposer,
)
from tests.llm.folders import write_folder
from tests.llm.logits import sampler

# ── limits ──────────────────────────────────────────────────────────────────────────────────────────


def test_without_free_blocks_there_is_no_draft_until_some_are_freed(folder: Path, oracle: Oracle) -> None:
    drafts, _ = proposer(folder, num_blocks=4)
    first, second = context(2 * BLOCK_SIZE), context(2 * BLOCK_SIZE, first=100)
    trees = drafts.propose([first, second], 2)
    check_tree(oracle, trees[0], first.tokens, 2)
    assert trees[1] is NO_DRAFT
    assert drafts.catch_up([second]) == [(0, 0)]
    assert drafts._memory.pool.num_used == 3  # what cannot be used is not taken
    drafts.finish(first)
    check_tree(oracle, drafts.propose([second], 2)[0], second.tokens, 2)


def test_a_draft_is_as_deep_as_its_blocks_allow(folder: Path) -> None:
    drafts, _ = proposer(folder, num_blocks=1)
    own = context(BLOCK_SIZE - 1)
    assert len(chain_of(drafts.propose([own], 5)[0])) == 2
    own.tokens.extend([4, 4])
    assert drafts.propose([own], 5) == [NO_DRAFT]


def test_beyond_what_the_draft_model_was_made_for_there_is_no_draft(tmp_path: Path) -> None:
    drafts, _ = proposer(write_folder(tmp_path, "qwen3", max_position_embeddings=20))
    own = context(18)
    assert len(chain_of(drafts.propose([own], 8)[0])) == 3
    own.tokens.extend([4, 4, 4])
    assert drafts.propose([own], 8) == [NO_DRAFT]
    assert drafts.catch_up([own]) == [(0, 0)]
    assert drafts.num_missed(own) == 0
    drafts.finish(own)
    assert drafts._memory.pool.num_used == 0


@pytest.mark.parametrize("max_rows", [100, 512])
def test_a_long_prompt_is_taken_in_by_pieces_while_others_draft(folder: Path, oracle: Oracle, max_rows: int) -> None:
    drafts, runner = proposer(folder, max_rows=max_rows)
    long, short = context(2 * CATCH_UP_ROWS + 50), context(8, first=300)
    for call in range(3):
        assert drafts.num_missed(long) == len(long.tokens) - 1 - call * CATCH_UP_ROWS + (7 if call else 0)
        runner.rows.clear()
        trees = drafts.propose([long, short], 1)
        assert sum(runner.rows) <= CATCH_UP_ROWS + 2
        assert max(runner.rows) <= max_rows
        check_tree(oracle, trees[1], short.tokens, 1)
        assert (trees[0] is NO_DRAFT) == (call < 2)
        short.tokens.append(trees[1].tokens[0])
    check_tree(oracle, trees[0], long.tokens, 1)


def test_more_sequences_than_rows(folder: Path, oracle: Oracle) -> None:
    drafts, runner = proposer(folder, max_rows=8)
    contexts = [context(4, first=10 * index) for index in range(11)]
    for each, tree in zip(contexts, drafts.propose(contexts, 2), strict=True):
        check_tree(oracle, tree, each.tokens, 2)
    assert max(runner.rows) <= 8


# ── catching up ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_catching_up_first_changes_no_draft(folder: Path, temperature: float) -> None:
    couplings = [Noise(sampler(V, seed=5, temperature=temperature)) for _ in range(2)]
    kept, late = (context(30, num_prompt=20, temperature=temperature, coupling=each) for each in couplings)
    drafts, _ = proposer(folder)
    for num_tokens in (0, 3, 1):
        for each in (kept, late):
            each.tokens.extend(PROMPT[500 : 500 + num_tokens])
        drafts.catch_up([kept])
        assert drafts.num_missed(kept) == 0
    assert drafts.num_missed(late) == 33
    first, second = drafts.propose([kept, late], 4)
    assert (first.tokens, first.parents) == (second.tokens, second.parents)
    assert first.survival == pytest.approx(second.survival, rel=1e-5)


def test_greedy_text_is_graded_against_the_best_of_each_row(folder: Path, oracle: Oracle) -> None:
    drafts, _ = proposer(folder)
    own = context(12)
    own.tokens.extend(oracle.chain(own.tokens, 6))
    own.tokens.extend([5, 6, 7])
    best = oracle.logits(own.tokens).argmax(axis=1).tolist()
    hits = sum(best[place - 1] == own.tokens[place] for place in range(12, 21))
    assert hits >= 6
    assert drafts.catch_up([own]) == [(hits, 9)]
    assert drafts.catch_up([own]) == [(0, 0)]
    own.tokens.append(best[-1])
    assert drafts.catch_up([own]) == [(1, 1)]


def test_what_is_not_the_best_of_its_row_is_graded_by_guesses_alone(folder: Path, oracle: Oracle) -> None:
    drafts, _ = proposer(folder)
    made = sampler(V, temperature=1.0, seed=4)
    own = context(12, temperature=1.0, coupling=Noise(made))
    text = oracle.chain(own.tokens, 8, Noise(made))
    grades: list[tuple[int, int]] = []
    for token in text[:4]:
        grades += drafts.catch_up([own])
        own.tokens.append(token)
        made.add([token])
    own.tokens.append((text[4] + 1) % V)
    own.tokens.append(9)
    grades += drafts.catch_up([own])
    assert grades == [(0, 0), (1, 1), (1, 1), (1, 1), (1, 1)]


def test_what_was_proposed_is_not_graded_again(folder: Path) -> None:
    drafts, _ = proposer(folder)
    own = context(12, temperature=1.0, coupling=Noise(sampler(V, temperature=1.0)))
    drafts.catch_up([own])
    [tree] = drafts.propose([own], 2)
    own.tokens.extend(tree.tokens[:1])
    assert drafts.catch_up([own]) == [(0, 0)]


def test_a_penalised_greedy_text_is_not_compared_with_the_best_of_each_row(folder: Path) -> None:
    drafts, _ = proposer(folder)
    own = context(12, coupling=Noise(sampler(V, temperature=0.0, logit_bias={9: 100.0})))
    assert drafts.catch_up([own]) == [(0, 0)]
    own.tokens.extend([9, 9, 9])
    assert drafts.catch_up([own]) == [(1, 1)]  # its own guess alone


# ── loading ─────────────────────────────────────────────────────────────────────────────────────────


def setup_of(target: Path, draft: Path | None, **options: Any) -> Setup:
    config = EngineConfig(
        model=str(target),
        draft=None if draft is None else str(draft),
        threads=1,
        device="cpu",
        max_num_seqs=4,
        **options,
    )
    return Setup(config, read_config(target), target)


def test_without_a_draft_model_there_is_no_proposer(folder: Path) -> None:
    assert make(setup_of(folder, None)) is None


def test_a_draft_of_another_family_is_loaded_as_it_is_stored(folder: Path, tmp_path: Path) -> None:
    draft = write_folder(tmp_path, "llama", "bfloat16", num_hidden_layers=1)
    made = make(setup_of(folder, draft))
    assert made is not None
    own = context(10)
    assert defect(made.propose([own], 3)[0], V, 3) is None
    assert made._memory._runner.config.dtype == "bfloat16"
    assert made._memory._runner.config.max_model_len == 512
    made.finish(own)
    made.close()


def test_a_type_that_was_asked_for_holds_for_the_draft_too(folder: Path, tmp_path: Path) -> None:
    draft = write_folder(tmp_path, "llama", "bfloat16", num_hidden_layers=1, max_position_embeddings=2 * LENGTH)
    made = make(setup_of(folder, draft, dtype="float32", num_blocks=5))
    assert made is not None
    config = made._memory._runner.config
    assert (config.dtype, config.max_model_len, made._memory.pool.num_blocks) == ("float32", LENGTH, 5)
    made.close()


def test_a_vocabulary_of_another_size_is_refused(folder: Path, tmp_path: Path) -> None:
    draft = write_folder(tmp_path, "qwen3", vocab_size=400)
    with pytest.raises(ConfigError, match=r"384.*400") as caught:
        make(setup_of(folder, draft))
    assert str(folder) in str(caught.value)
    assert str(draft) in str(caught.value)


def test_other_tokens_are_refused_and_another_layout_of_the_file_is_not(folder: Path, tmp_path: Path) -> None:
    draft = write_folder(tmp_path, "qwen3")
    file = draft / "tokenizer.json"
    fields = json.loads(file.read_text())
    file.write_text(json.dumps(fields | {"padding": None}, indent=4))
    made = make(setup_of(folder, draft))
    assert made is not None
    made.close()
    vocab = fields["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    file.write_text(json.dumps(fields))
    with pytest.raises(ConfigError, match=r"tokenizer\.json") as caught:
        make(setup_of(folder, draft))
    assert str(folder) in str(caught.value)
    assert str(draft) in str(caught.value)
    file.unlink()
    with pytest.raises(ConfigError, match=r"tokenizer\.json"):
        make(setup_of(folder, draft))


@pytest.mark.parametrize(
    ("options", "blocks"),
    [
        ({"max_num_seqs": 2}, 2 * 64),
        ({"max_num_seqs": 64}, 1000 // 16),
        ({"num_blocks": 9}, 9),
        ({"max_num_seqs": 64, "kv_memory": 80}, 20),
        ({"kv_memory": 1}, 1),
    ],
    ids=["full contexts", "a share of what is free", "as the target", "a share of what was given", "one at least"],
)
def test_pool_size(folder: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], blocks: int) -> None:
    config = read_config(folder)
    block_bytes = config.kv_bytes_per_token(4) * BLOCK_SIZE
    monkeypatch.setattr(model, "available_bytes", lambda: 1000 * block_bytes)
    if "kv_memory" in options:
        options["kv_memory"] *= block_bytes
    if options == {"max_num_seqs": 2}:
        monkeypatch.setattr(model, "available_bytes", lambda: 4000 * block_bytes)
    assert pool_blocks(EngineConfig(model="m", **options), config) == blocks


def test_closing_gives_the_runner_back(folder: Path) -> None:
    drafts, runner = proposer(folder)
    drafts.close()
    assert runner.closed
