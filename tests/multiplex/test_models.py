"""Models come, go and change; those who ask others meanwhile do not wait."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from paceline.errors import ConfigError, InvalidRequest, ModelError, NotReady
from paceline.multiplex import models as module
from paceline.multiplex.capture import capture
from paceline.multiplex.engine import Runtime
from paceline.multiplex.folder import save_model
from tests.multiplex.runtimes import SLOW, X, close, serving, small


class Slow:
    """A capture that is not done before it is told so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

        def captured(*arguments: Any) -> Any:
            self.begun.set()
            assert self.go.wait(30)
            return capture(*arguments)

        monkeypatch.setattr(module, "capture", captured)


def test_a_slow_registration_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({"a": small(), "b": small(1)}) as runtime:
        slow = Slow(monkeypatch)
        thread = threading.Thread(target=runtime.register, args=("c", small(2, 5), X), kwargs={"slo": SLOW})
        thread.start()
        assert slow.begun.wait(30)
        assert close(runtime.infer_sync("a", X), small(), X)
        runtime.update_weights("a", small(7).state_dict())
        runtime.unregister("b")
        assert runtime.stats().num_launches == 1
        slow.go.set()
        thread.join(30)
        assert close(runtime.infer_sync("c", X), small(2, 5), X)


def test_closing_during_a_registration_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, raised = Slow(monkeypatch), []
    with Runtime() as runtime:

        def register() -> None:
            try:
                runtime.register("a", small(), X)
            except NotReady as error:
                raised.append(error)

        thread = threading.Thread(target=register)
        thread.start()
        assert slow.begun.wait(30)
    slow.go.set()
    thread.join(30)
    assert raised


def test_one_of_two_models_of_one_name_is_refused() -> None:
    with Runtime() as runtime:
        models = [small(seed) for seed in range(4)]
        refused: list[ConfigError] = []

        def register(seed: int) -> None:
            try:
                runtime.register("a", models[seed], X, slo=SLOW)
            except ConfigError as error:
                refused.append(error)

        threads = [threading.Thread(target=register, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(refused) == 3
        assert any(close(runtime.infer_sync("a", X), model, X) for model in models)


def test_models_built_alike_are_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[nn.Module] = []

    def counted(model: nn.Module, examples: Any) -> Any:
        traced.append(model)
        return capture(model, examples)

    monkeypatch.setattr(module, "capture", counted)
    example = torch.zeros(1, 3, 6, 6)
    with Runtime() as runtime:
        models = []
        for seed in range(4):  # with weights that are computed: folded normalisation
            torch.manual_seed(seed)
            models.append(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval())
            models[-1][1].running_mean.normal_()
            runtime.register(str(seed), models[-1], (example,), slo=SLOW)
        assert len(traced) == 1
        given = torch.randn(2, 3, 6, 6)
        made = runtime.infer_many_sync([(str(seed), given) for seed in range(4)])
        assert all(close(each, model, given) for each, model in zip(made, models, strict=True))
        assert runtime.explain("0").partners == ("1", "2", "3")


def test_the_last_of_a_family_takes_everything_along() -> None:
    with serving({"a": small(), "b": small(1)}) as runtime:
        family = weakref.ref(runtime._models.families()[0])
        runtime.infer_many_sync([("a", X), ("b", X)])
        for name in "ab":
            runtime.unregister(name)
        assert runtime.stats().weights_bytes == 0
        assert not runtime._models._templates
        gc.collect()
        assert family() is None
        runtime.register("a", small(3), X, slo=SLOW)
        assert close(runtime.infer_sync("a", X), small(3), X)


def test_weights_are_as_they_were_when_it_was_registered() -> None:
    model = small()
    with serving({"a": model}) as runtime:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        assert close(runtime.infer_sync("a", X), small(), X)


def test_a_model_from_a_folder(tmp_path: Path) -> None:
    save_model(tmp_path / "m", capture(small(), (X,)), slo_s=20.0, max_rows=8)
    with serving({"b": small(1)}) as runtime:
        info = runtime.load("a", tmp_path / "m", max_queued=5)
        spec = runtime._models["a"].spec
        assert (spec.slo_s, spec.max_rows, spec.max_queued) == (20.0, 8, 5)
        assert info.family == runtime._models["b"].spec.family
        assert close(runtime.infer_sync("a", X), small(), X)
        runtime.update_weights("a", dict(capture(small(2), (X,)).weights))
        assert close(runtime.infer_sync("a", X), small(2), X)
        with pytest.raises(InvalidRequest, match="got float64"):
            runtime.update_weights("a", {name: each.double() for name, each in capture(small(), (X,)).weights.items()})
        with pytest.raises(ModelError):
            runtime.load("c", tmp_path / "nothing")
        with pytest.raises(ConfigError, match="already registered"):
            runtime.load("a", tmp_path / "m")


_ADAPTERS = """
import psutil, torch
from paceline.multiplex.architectures import adapted, mlp
from paceline.multiplex.engine import Runtime
torch.set_num_threads(1)
base = mlp(width=512, num_layers=4).eval()
example = torch.zeros(1, 512)
with Runtime() as runtime:
    before = psutil.Process().memory_info().rss
    for number in range(500):
        runtime.register(str(number), adapted(base=base, rank=2).eval(), example, slo="60s")
    assert len(runtime.explain("0").partners) == 499
    made = runtime.infer_many_sync([(str(number), example) for number in range(500)])
    assert all(each.shape == (1, 512) for each in made)
    grown = psutil.Process().memory_info().rss - before
    print(sum(each.nbytes for each in base.parameters()), grown, runtime.stats().weights_bytes)
"""


def test_hundreds_of_adapters_cost_little_more_than_their_base() -> None:
    run = subprocess.run([sys.executable, "-c", _ADAPTERS], capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stderr
    base_bytes, grown, stacked = map(int, run.stdout.split())
    assert stacked < 1.2 * base_bytes + 500 * 100_000
    assert grown < 1.2 * base_bytes + 500 * 1_000_000
