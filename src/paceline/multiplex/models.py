"""The models of a runtime by name: captured, put into their family's stack, made known to the window."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, nn

from paceline.errors import ConfigError, InvalidRequest
from paceline.multiplex.capture import Captured, NotCapturable, capture
from paceline.multiplex.capture.evaluate import call
from paceline.multiplex.capture.recipe import Recipe
from paceline.multiplex.driver import Driver
from paceline.multiplex.family import Family, Numerics
from paceline.multiplex.folder import load_model
from paceline.multiplex.hosted import Hosted, Signature
from paceline.multiplex.ledger import Ledger
from paceline.multiplex.messages import TenantInfo
from paceline.multiplex.op import Graph, Value, Weight, family_key, renamed, weight_order
from paceline.multiplex.segment import cut
from paceline.multiplex.shared import SharedFiles
from paceline.multiplex.solo import Solo
from paceline.multiplex.tenant import TenantSpec

Model: TypeAlias = Hosted | Solo

_SEGMENT_S = 10e-3  # an urgent request waits for about as long behind a model that runs alone
_SHOWN_KEY = 12  # digits of a family's key that people see


@final
class Models:
    """Models are taken in one by one, by the thread of whoever asks, since tracing bears no company. What is known of them
    changes in the driver's thread alone, so that all else waits for no more than a launch.
    """

    def __init__(
        self, driver: Driver, ledger: Ledger, *, device: str, numerics: Numerics, memory_budget: int, threads: int
    ) -> None:
        self._driver = driver
        self._ledger = ledger
        self._device = device
        self._numerics = numerics
        self._memory_budget = memory_budget
        self._threads = threads
        self._models: dict[str, Model] = {}
        self._families: dict[str, Family] = {}
        self._templates: dict[str, Captured] = {}  # by family; without the weights that are a model's own
        self._shared = SharedFiles()
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Model:
        """InvalidRequest if there is none of this name."""
        model = self._models.get(name)
        if model is None:
            raise InvalidRequest(f"there is no model {name!r}", param="model", code="model_not_found")
        return model

    def hosted(self, family: Family | None = None) -> list[Hosted]:
        """Those that may run in company, in the order of their registration; of one family or of all."""
        models = [model for model in list(self._models.values()) if isinstance(model, Hosted)]
        return [model for model in models if family is None or model.family is family]

    def families(self) -> list[Family]:
        return list(self._families.values())

    # ── coming and going ─────────────────────────────────────────────────────────────────────

    def add(self, name: str, model: nn.Module, examples: tuple[Tensor, ...], bounds: Mapping[str, Any]) -> TenantInfo:
        """A module, captured; by itself if that is not possible."""
        with self._lock:
            self._require_new(name, bounds)
            try:
                captured = self._captured(model, examples)
            except NotCapturable as error:
                return self._add_solo(name, model, examples, bounds, error.reasons)
            return self._host(name, captured.graph, captured.weights, captured.recipe, bounds)

    def load(self, name: str, folder: Path, bounds: Mapping[str, Any]) -> TenantInfo:
        """A model from a folder, which says itself what it is to be held to. ModelError if there is none."""
        with self._lock:
            loaded = load_model(folder, self._shared, self._captured)
            bounds = {"slo_s": loaded.limits.slo_s, "max_rows": loaded.limits.max_rows, **bounds}
            self._require_new(name, bounds)
            return self._host(name, loaded.graph, loaded.weights, None, bounds)

    def remove(self, name: str) -> None:
        """InvalidRequest if there is none of this name."""
        self._driver.call(lambda: self._leave(name))

    def update(self, name: str, state: Mapping[str, Tensor]) -> None:
        """InvalidRequest if there is none of this name, or the state does not fit."""
        model = self[name]
        if isinstance(model, Solo):
            model.update(state)
            return
        weights = model.weights(state)

        def change() -> None:
            if self[name] is not model:
                raise InvalidRequest(f"the model {name!r} was replaced meanwhile", param="model")
            self._driver.service.update(model, weights)

        self._driver.call(change)

    def close(self) -> None:
        solos = [model for model in list(self._models.values()) if isinstance(model, Solo)]
        for solo in solos:
            solo.close()
        for solo in solos:
            solo.join()

    def _leave(self, name: str) -> None:
        model = self[name]
        del self._models[name]
        self._ledger.dismiss(name)
        if isinstance(model, Solo):
            model.close()
            return
        self._driver.service.dismiss(model)
        family = model.family
        family.remove(model.slot)
        if not family.slots:
            del self._families[family.key]
            self._templates.pop(family.key, None)

    # ── one model ────────────────────────────────────────────────────────────────────────────

    def _require_new(self, name: str, bounds: Mapping[str, Any]) -> None:
        self._driver.require_open()
        if name in self._models:
            raise ConfigError(f"model {name!r} is already registered")
        TenantSpec(name=name, family="", segments=("",), **bounds)  # before the work of capturing it

    def _captured(self, model: nn.Module, examples: tuple[Tensor, ...]) -> Captured:
        """Traced, unless a model of the same modules was traced before."""
        for template in list(self._templates.values()):
            found = template.like(model, examples)
            if found is not None:
                return found
        captured = capture(model, examples)
        made = captured.recipe.made & captured.weights.keys()
        template = replace(captured, weights={name: captured.weights[name] for name in made})
        self._templates[family_key(captured.graph)] = template
        return captured

    def _add_solo(
        self,
        name: str,
        model: nn.Module,
        examples: Sequence[Tensor],
        bounds: Mapping[str, Any],
        reasons: tuple[str, ...],
    ) -> TenantInfo:
        spec = TenantSpec(name=name, family=f"solo/{name}", segments=("solo",), stackable=False, **bounds)

        def enter() -> Solo:
            account = self._ledger.enrol(name)
            solo = Solo(spec, model, reasons, account, threads=self._threads, flush=self._driver.flush)
            self._models[name] = solo
            return solo

        return self._driver.call(enter).info(examples)

    def _host(
        self, name: str, graph: Graph, weights: Mapping[str, Tensor], recipe: Recipe | None, bounds: Mapping[str, Any]
    ) -> TenantInfo:
        names = {weight: f"w{place}" for place, weight in enumerate(weight_order(graph))}
        own = {new: weights[old] for old, new in names.items()}
        family = self._families.get(family_key(graph)) or self._family(renamed(graph, names), own)
        segments = tuple([f"{family.key[:_SHOWN_KEY]}/{place}" for place in range(len(family.segments))])
        spec = TenantSpec(name=name, family=family.key[:_SHOWN_KEY], segments=segments, **bounds)
        signature = Signature(graph, family.device)

        def enter() -> Hosted:
            hosted = Hosted(spec, family, family.add(own), signature, recipe, names)
            self._driver.service.host(hosted)
            self._ledger.enrol(name)
            self._families[family.key] = family
            self._models[name] = hosted
            return hosted

        return self._driver.call(enter).info()

    def _family(self, graph: Graph, weights: Mapping[str, Tensor]) -> Family:
        inputs = [torch.zeros(spec.sizes(1), dtype=getattr(torch, spec.dtype)) for spec in graph.inputs]
        cuts = cut(graph, _op_costs_s(graph, weights, inputs), _SEGMENT_S)
        return Family(graph, cuts=cuts, numerics=self._numerics, device=self._device, memory_budget=self._memory_budget)


def _op_costs_s(graph: Graph, weights: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[float]:
    """Seconds of each op for one row: the shorter of two runs."""
    rounds: list[list[float]] = []
    with torch.inference_mode():
        for _ in range(2):
            values, costs = list(inputs), []

            def read(tensor: Value | Weight, values: list[Tensor] = values) -> Tensor:
                return weights[tensor.name] if isinstance(tensor, Weight) else values[tensor.index]

            for op in graph.ops:
                began = time.perf_counter()
                values += call(op, read, 1)
                costs.append(time.perf_counter() - began)
            rounds.append(costs)
    return [min(pair) for pair in zip(*rounds, strict=True)]
