"""``paceline simulate`` as an operator meets it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from paceline.cli import main
from paceline.cli.simulate import _answer
from paceline.llm.simulate.capacity import Figures
from paceline.llm.speculation import NoSpeculation, Policy, PolicySetup
from tests.llm.simulate.drafting import Drafting

SMALL = ("simulate", "--speculation", "off", "--requests", "40", "--workload", "gsm8k", "--quiet")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    return int(exit_info.value.code or 0)


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PACELINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")


def test_it_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("simulate", "--help") == 0
    text = capsys.readouterr().out
    for word in (
        "Usage: paceline simulate",
        "--ttft-s",
        "--acceptance",
        "PACELINE_SIMULATE_WORKLOAD",
        "PACELINE_DEBUG",
    ):
        assert word in text


def test_it_answers_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SMALL, "--rate", "3", "--ttft-s", "0.2", "--tpot-s", "0.02") == 0
    text = capsys.readouterr().out
    assert "llama-3.1-8b on H100, 99 % of requests: first token in 200 ms, then 20 ms each" in text
    for title in ("requests per second", "first token, 99 %", "whole answer, mean"):
        assert title in text


def test_it_searches_and_says_so_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(*SMALL, "--json", "--model", "llama-2-7b", "--device", "A100", "--share", "0.8", "--tpot-s", "0.0105") == 0
    )
    answer = json.loads(capsys.readouterr().out)
    [arm] = answer["arms"]
    assert (answer["model"], answer["device"], answer["num_requests"], arm["speculation"]) == (
        "llama-2-7b",
        "A100",
        40,
        "off",
    )
    assert arm["figures"]["attainment"] >= 0.8
    assert arm["figures"]["rate"] > 1.0


def test_both_ways_are_compared(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def make(name: str, setup: PolicySetup) -> Policy:
        return Drafting("heads", 3) if name == "auto" else NoSpeculation()

    monkeypatch.setattr("paceline.llm.simulate.virtual.make_policy", make)
    arguments = [{"off": "auto", "40": "12"}.get(argument, argument) for argument in SMALL]
    assert run(*arguments, "--share", "0.8", "--tpot-s", "0.00725", "--max-num-seqs", "8") == 0
    text = capsys.readouterr().out
    assert "auto, same load" in text
    assert "times as many." in text
    assert run(*arguments, "--rate", "2") == 0
    assert "A mean answer takes" in capsys.readouterr().out


def test_the_table_is_said_in_a_sentence() -> None:
    some = Figures(2.0, 1.0, 0.1, 0.1, 0.01, 0.01, 1.0, 1.0, 0.5)
    most = replace(some, rate=5.0, latency_mean_s=0.4)
    assert "5 requests per second with speculation, 2 without: 2.50" in _answer(
        [("off", some), ("auto", most)], searched=True
    )
    assert (
        _answer([("off", None), ("auto", most)], searched=True)
        == "5 requests per second with speculation keep these limits."
    )
    assert (
        _answer([("off", some), ("auto", None)], searched=True)
        == "2 requests per second without speculation keep these limits."
    )
    assert _answer([("off", None), ("auto", None)], searched=True).startswith("No rate keeps these limits")
    assert (
        _answer([("off", some), ("auto", most)], searched=False)
        == "A mean answer takes 400 ms with speculation, 1.00 s without."
    )


def test_requests_that_are_too_long_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,10,20\n1,9000,9\n2,30,5\n")
    arguments = ("--trace", str(trace), "--rate", "1", "--model", "llama-2-7b", "--device", "H100")
    assert run(*SMALL, *arguments) == 0
    assert "1 requests are longer than the model's context and were left out." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--model", "gpt"), "no step times of the model 'gpt'; known: llama-2-70b"),
        (("--device", "TPU"), "no step times of llama-3.1-8b on 'TPU'; there are some for: A100, H100"),
        (("--workload", "poems"), "unknown workload 'poems'; known: cnn, gsm8k, instructcoder, sharegpt, mixed"),
        (("--ttft-s", "0"), "--ttft-s must be > 0, got 0.0"),
        (("--tpot-s", "nan"), "--tpot-s must be > 0, got nan"),
        (("--rate", "-1"), "--rate must be > 0, got -1.0"),
        (("--share", "1.5"), "--share must be in (0, 1], got 1.5"),
        (("--requests", "0"), "the number of requests must be >= 1, got 0"),
        (("--acceptance", "nowhere.jsonl"), "cannot read the acceptance traces nowhere.jsonl"),
        (("--trace", "nowhere.csv"), "cannot read the trace nowhere.csv"),
        (("--speculation", "best"), "speculation must be a number or one of auto"),
    ],
    ids=" ".join,
)
def test_mistakes_are_explained(arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("simulate", *arguments) == 2
    assert says in capsys.readouterr().err
