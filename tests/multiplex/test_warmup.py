"""What is learned before traffic."""

from __future__ import annotations

import torch
from torch import nn

from paceline.multiplex import warmup
from paceline.multiplex.engine import Runtime
from tests.multiplex.runtimes import SLOW, Branching, Lookup, X, close, serving, small


def test_costs_of_all_families_are_known_afterwards() -> None:
    with serving({"a": small(), "b": small(1), "c": small(2)}) as runtime:
        runtime.register("table", Lookup(), torch.zeros(1, dtype=torch.long), slo=SLOW)
        runtime.register("own", Branching(), X, slo=SLOW)
        runtime.warmup(max_rows=3)
        for name in ("a", "table"):
            assert runtime._driver.window.costs[runtime._models[name].spec.segments[0]].known
        assert close(runtime.infer_sync("b", X), small(1), X)
        assert runtime.num_launches == 1  # warming up counts for nobody


def test_nothing_to_warm_up() -> None:
    with Runtime() as runtime:
        runtime.warmup()


def test_models_may_leave_meanwhile(monkeypatch: object) -> None:
    with serving({"a": small(), "b": small(1)}) as runtime:
        family = runtime._models.families()[0]
        runtime.unregister("b")
        warmup._measure(runtime._models, runtime._driver, family, 2, 1)
        runtime.unregister("a")
        warmup.warm_up(runtime._models, runtime._driver, 4)
        assert not runtime._driver.window.costs[f"{family.key[:12]}/0"].known


def test_requests_are_served_between_its_launches() -> None:
    models: dict[str, nn.Module] = {str(seed): small(seed) for seed in range(8)}
    with serving(models) as runtime:
        order: list[str] = []
        run = warmup._measure

        def measured(*arguments: object) -> None:
            if not order:
                runtime.submit("0", (X,), done=lambda _: order.append("answer"))
            run(*arguments)  # type: ignore[arg-type]
            order.append("measured")

        warmup._measure = measured  # type: ignore[assignment]
        try:
            runtime.warmup()
        finally:
            warmup._measure = run
        assert "answer" in order[:-1]
