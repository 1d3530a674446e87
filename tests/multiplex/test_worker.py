"""The process of models with its real runtime: what folders hold is served as the models themselves would answer."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from paceline.errors import DeadlineInfeasible, ModelError
from paceline.multiplex.capture import capture
from paceline.multiplex.config import MultiplexConfig
from paceline.multiplex.folder import save_model
from paceline.multiplex.messages import Array
from paceline.multiplex.remote import MultiplexProcess

ROWS = torch.linspace(-1.0, 1.0, 3 * 8).view(3, 8)
INPUT = Array("float32", (3, 8), (ROWS.numpy().tobytes(),))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, nn.Module]]:
    """Two of one family, saved."""
    root = tmp_path_factory.mktemp("models")
    made: dict[str, tuple[Path, nn.Module]] = {}
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
        save_model(root / name, capture(model, (torch.zeros(2, 8),)), slo_s=30.0, max_rows=64)
        made[name] = root / name, model
    return made


def values_of(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(b"".join(array.pieces), array.dtype).reshape(array.shape).copy())


def test_folders_are_served_and_come_back(models: dict[str, tuple[Path, nn.Module]]) -> None:
    async def scenario() -> None:
        folders = {name: folder for name, (folder, _) in models.items()}
        engine = MultiplexProcess(folders, MultiplexConfig(device="cpu"), on_output=lambda line: None)
        await engine.start()
        try:
            assert engine.models["a"].family == engine.models["b"].family
            await _check(engine, models)
            with pytest.raises(DeadlineInfeasible):
                await engine.infer("a", [INPUT], deadline_s=1e-6)
            assert engine.pid is not None
            os.kill(engine.pid, signal.SIGKILL)
            async with asyncio.timeout(60):
                while engine.num_restarts == 0 or engine.state != "ready":
                    await asyncio.sleep(0.05)
            await _check(engine, models)
            stats = await engine.stats()
            assert sum(tenant.num_done for tenant in stats.tenants.values()) == 8 * len(models)
        finally:
            await engine.stop(drain_s=5.0)

    asyncio.run(scenario())


async def _check(engine: MultiplexProcess, models: dict[str, tuple[Path, nn.Module]]) -> None:
    names = [name for name in models for _ in range(8)]
    answers = await asyncio.gather(*(engine.infer(name, [INPUT]) for name in names))
    for name, [output] in zip(names, answers, strict=True):
        expected = models[name][1](ROWS)
        torch.testing.assert_close(values_of(output), expected.detach(), rtol=1e-4, atol=1e-5)


def test_a_folder_without_a_model_ends_the_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = MultiplexProcess({"empty": tmp_path}, MultiplexConfig(device="cpu"), on_output=lambda line: None)
        with pytest.raises(ModelError, match="model 'empty': "):
            await engine.start()

    asyncio.run(scenario())
