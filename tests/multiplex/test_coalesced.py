"""``coalesce``: one call gives what every model gives by itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from paceline.errors import InvalidRequest
from paceline.multiplex.coalesced import Coalesced, coalesce


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 12, batch_first=True)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        steps, _ = self.lstm(x)
        return {"answer": self.head(steps[:, -1]), "steps": steps}


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 8)
        self.mix = nn.Linear(8, 8)

    def forward(self, x: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        y = self.mix(x) + self.table(ids)
        return y, y.relu()


class Deciding(nn.Module):
    """Cannot be captured: it looks at the numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) if x.sum() > 0 else x


def mlp(width: int = 6, hidden: int = 12) -> nn.Module:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.LayerNorm(hidden), nn.Linear(hidden, width))


def encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (mlp, (6,)),
    "lstm": (Recurrent, (5, 8)),
    "encoder": (encoder, (4, 16)),
    "convolutions": (convolutions, (3, 9, 9)),
}


def several(make: Callable[[], nn.Module], count: int = 4) -> list[nn.Module]:
    torch.manual_seed(0)
    return [make().eval() for _ in range(count)]


def check(together: Coalesced, models: list[nn.Module], inputs: list[tuple[Tensor, ...]]) -> None:
    made = together([each[0] if len(each) == 1 else each for each in inputs])
    for model, given, ours in zip(models, inputs, made, strict=True):
        with torch.no_grad():
            theirs = model(*given)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("numerics", ["close", "exact"])
def test_results_are_those_of_the_models(case: str, numerics: str) -> None:
    make, shape = CASES[case]
    models = several(make)
    together = coalesce(models, (torch.randn(1, *shape),), numerics=numerics)  # type: ignore[arg-type]
    for rows in ([1, 1, 1, 1], [2, 2, 2, 2], [1, 3, 2, 1]):
        check(together, models, [(torch.randn(count, *shape),) for count in rows])
    (report,) = together.explain()
    assert report.models == (0, 1, 2, 3)
    assert report.num_loop_ops == 0


def test_several_inputs_of_different_types() -> None:
    models = several(TwoInputs)
    together = coalesce(models, (torch.randn(1, 8), torch.zeros(1, dtype=torch.int64)))
    check(together, models, [(torch.randn(2, 8), torch.randint(0, 10, (2,))) for _ in models])


def test_inputs_by_name() -> None:
    models = several(mlp, 2)
    together = coalesce(models, (torch.zeros(1, 6),))
    x = torch.randn(1, 6)
    by_name = together([{"input": x}, {"input": x}])
    assert all(map(torch.equal, by_name, together([x, x])))
    with pytest.raises(InvalidRequest, match="model 0 takes inputs named input, got x"):
        together([{"x": x}, {"x": x}])


def test_names_count_not_their_order() -> None:
    models = several(TwoInputs, 2)
    together = coalesce(models, (torch.randn(1, 8), torch.zeros(1, dtype=torch.int64)))
    x, ids = torch.randn(2, 8), torch.tensor([3, 4])
    for ours, theirs in zip(together([{"ids": ids, "x": x}] * 2), together([(x, ids)] * 2), strict=True):
        assert all(map(torch.equal, ours, theirs))


def test_results_may_be_used_outside_of_inference_mode() -> None:
    models = several(mlp, 2)
    together = coalesce(models, (torch.zeros(1, 6),))
    assert all(not each.requires_grad for each in together([torch.zeros(1, 6)] * 2))


def test_the_same_model_many_times_is_one_batch() -> None:
    model = several(mlp, 1)[0]
    together = coalesce([model] * 4, (torch.zeros(1, 6),))
    (report,) = together.explain()
    assert report.num_shared == report.num_weights > 0
    check(together, [model] * 4, [(torch.randn(rows, 6),) for rows in (1, 2, 1, 4)])


def test_different_architectures_go_apart() -> None:
    models = [*several(mlp, 2), Deciding().eval(), *several(lambda: mlp(6, 20), 2)]
    together = coalesce(models, (torch.ones(1, 6),))
    assert sorted(report.models for report in together.explain()) == [(0, 1), (2,), (3, 4)]
    assert any(report.reasons for report in together.explain())
    assert all(str(report) for report in together.explain())
    check(together, models, [(torch.randn(1, 6),) for _ in models])


def test_inputs_are_left_as_they_were() -> None:
    models = several(lambda: nn.Sequential(nn.ReLU(), nn.Linear(6, 6), nn.ReLU(inplace=True)), 2)
    together = coalesce(models, (torch.zeros(1, 6),))
    x = -torch.ones(2, 6)
    together([x, x])
    together([x, x[:1]])
    assert x.eq(-1).all()


WRONG: dict[str, Tensor] = {
    "width": torch.zeros(1, 7),
    "rank": torch.zeros(1, 1, 6),
    "no rank": torch.tensor(1.0),
    "type": torch.zeros(1, 6, dtype=torch.float64),
    "whole numbers": torch.zeros(1, 6, dtype=torch.int64),
    "no rows": torch.zeros(0, 6),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("place", [0, 2])
def test_wrong_inputs_are_refused_with_the_models_number(wrong: str, place: int) -> None:
    together = coalesce(several(mlp), (torch.zeros(1, 6),))
    inputs = [torch.zeros(1, 6) for _ in range(4)]
    inputs[place] = WRONG[wrong]
    with pytest.raises(InvalidRequest, match=f"model {place} takes"):
        together(inputs)


def test_all_inputs_wrong_alike_are_refused_too() -> None:
    together = coalesce(several(mlp), (torch.zeros(1, 6),))
    with pytest.raises(InvalidRequest, match="model 0 takes"):
        together([torch.zeros(1, 7)] * 4)
    with pytest.raises(InvalidRequest, match="there are 4 models, got inputs for 3"):
        together([torch.zeros(1, 6)] * 3)
    with pytest.raises(InvalidRequest, match="takes 1 inputs, got 2"):
        together([(torch.zeros(1, 6), torch.zeros(1, 6))] * 4)
    with pytest.raises(InvalidRequest, match="at least one model"):
        coalesce([], (torch.zeros(1, 6),))
    with pytest.raises(InvalidRequest, match="got list"):
        together([[1.0]] * 4)  # type: ignore[list-item]
