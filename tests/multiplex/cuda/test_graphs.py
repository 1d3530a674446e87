"""Which programs become graphs, when, and which go; and on a GPU, that graphs change no answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from paceline.multiplex.cuda.graphs import Function, Graphs
from paceline.multiplex.family import Family, Numerics
from paceline.multiplex.lower.bundle import Joined, Segment
from paceline.multiplex.lower.program import Program
from paceline.multiplex.stack import _Bank
from tests.multiplex.made import NETS, interpreted, mlp, random_weights

CPU = torch.device("cpu")


def double(tensor: Tensor) -> tuple[Tensor, ...]:
    return (tensor * 2,)


def negate(tensor: Tensor) -> tuple[Tensor, ...]:
    return (-tensor,)


@dataclass
class Fake:
    function: Function
    num_bytes: int = 100
    replays: int = 0

    def replay(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        self.replays += 1
        return self.function(*tensors)


@dataclass
class Recorder:
    made: list[Fake] = field(default_factory=list)
    fails: bool = False

    def __call__(self, function: Function, slots: Sequence[Tensor]) -> Fake:
        if self.fails:
            raise RuntimeError("it looks at numbers")
        function(*slots)
        self.made.append(Fake(function))
        return self.made[-1]


def use(graphs: Graphs, function: Function, size: int, times: int) -> None:
    for _ in range(times):
        made = graphs.run(function, torch.ones(size))
        assert torch.equal(made[0], function(torch.ones(size))[0])


def test_recorded_after_some_uses_in_a_moment_of_rest() -> None:
    recorder = Recorder()
    graphs = Graphs(recorder, CPU, 1000)
    use(graphs, double, 4, 2)
    assert not graphs.capture_next()
    use(graphs, double, 4, 2)
    assert not recorder.made
    assert graphs.capture_next()
    assert not graphs.capture_next()
    use(graphs, double, 4, 2)
    use(graphs, double, 5, 1)
    assert [each.replays for each in recorder.made] == [2]
    assert graphs.memory_bytes() == 100


def test_a_device_that_never_rests_gets_its_graphs() -> None:
    recorder = Recorder()
    graphs = Graphs(recorder, CPU, 1000)
    use(graphs, double, 4, 70)
    assert len(recorder.made) == 1
    assert recorder.made[0].replays > 0
    assert not graphs.capture_next()


def test_the_least_recently_used_go() -> None:
    recorder = Recorder()
    graphs = Graphs(recorder, CPU, 200)
    for size in (1, 2, 3):
        use(graphs, double, size, 3)
        assert graphs.capture_next()
        use(graphs, double, 1, 1)
    assert graphs.memory_bytes() == 200
    use(graphs, double, 2, 1)
    assert recorder.made[1].replays == 0
    use(graphs, double, 1, 1)
    use(graphs, double, 3, 1)
    assert [each.replays for each in recorder.made] == [4, 0, 1]


def test_what_is_too_large_is_not_kept() -> None:
    recorder = Recorder()
    graphs = Graphs(recorder, CPU, 99)
    use(graphs, double, 4, 70)
    use(graphs, double, 4, 70)
    assert graphs.memory_bytes() == 0
    assert len(recorder.made) == 1


def test_what_cannot_be_recorded_runs_without(caplog: pytest.LogCaptureFixture) -> None:
    graphs = Graphs(Recorder(fails=True), CPU, 1000)
    use(graphs, double, 4, 140)
    assert caplog.text.count("it looks at numbers") == 1
    assert not graphs.capture_next()


def test_forgets_functions_that_are_no_more() -> None:
    graphs = Graphs(Recorder(), CPU, 1000)
    for function in (double, negate):
        use(graphs, function, 4, 3)
        assert graphs.capture_next()
    for function in (double, negate):
        use(graphs, function, 5, 3)
    graphs.forget([negate])
    assert graphs.memory_bytes() == 100
    assert graphs.capture_next()
    assert not graphs.capture_next()
    graphs.forget()
    assert graphs.memory_bytes() == 0


@pytest.mark.parametrize("num_rows", [[3, 3, 3, 3], [1, 2, 3, 1], [3]])
def test_joined_rows_are_filled_up_and_cut_off(num_rows: list[int]) -> None:
    torch.manual_seed(0)
    graph = mlp()
    family = Family(graph)
    weights = random_weights(graph, len(num_rows))
    slots = tuple([family.add(each) for each in weights])
    segment, sizes = family._segments[0], []
    states = [(torch.randn(rows, 16),) for rows in num_rows]

    def program(segment: Segment) -> Program:
        plain = family._grouping._programs(slots[:1], 4)(segment)

        def function(*tensors: Tensor) -> tuple[Tensor, ...]:
            sizes.append(tensors[0].shape[0])
            return plain.function(*tensors)

        return dataclasses.replace(plain, function=function)

    for state, given in zip(Joined(program, fills=True).run(segment, states, num_rows), states, strict=True):
        assert isinstance(state, tuple)
        torch.testing.assert_close(state[0], interpreted(graph, weights[0], given)[0], rtol=1e-4, atol=1e-5)
    assert sizes == [1 << (sum(num_rows) - 1).bit_length()]


@pytest.mark.parametrize("numerics", ["close", "exact"])
@pytest.mark.parametrize("net", NETS)
def test_a_family_runs_its_programs_as_graphs(net: str, numerics: Numerics, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way on a CPU, but for graphs that only call."""
    monkeypatch.setattr(_Bank, "is_read_apart", property(lambda bank: len(bank.shape) == 2))
    torch.manual_seed(0)
    graph, recorder = NETS[net](), Recorder()
    family = Family(graph, numerics=numerics)
    family._grouping.graphs = Graphs(recorder, CPU, 1 << 20)
    weights = random_weights(graph, 5)
    weights[4] = weights[2]
    slots = [family.add(each) for each in weights]

    def check(members: list[int], num_rows: list[int]) -> None:
        inputs = [tuple(torch.randn(spec.sizes(rows)) for spec in graph.inputs) for rows in num_rows]
        made = family.run(0, [slots[member] for member in members], inputs)
        for member, own, state in zip(members, inputs, made, strict=True):
            assert isinstance(state, tuple)
            torch.testing.assert_close(state[0], interpreted(graph, weights[member], own)[0], rtol=1e-4, atol=1e-5)

    for _ in range(52):  # a scattered set becomes hot on the way
        check([0, 3], [1, 2])
    for _ in range(4):
        for members, num_rows in (([0, 1, 2], [3, 1, 2]), ([1], [3]), ([4, 2], [1, 2]), ([0, 3], [2, 1])):
            check(members, num_rows)
        while family.rest():
            pass
    assert sum(each.replays for each in recorder.made) >= 4
    assert family.memory_bytes() > 100
    weights[1] = random_weights(graph, 1)[0]
    family.update(slots[1], weights[1])
    assert family._grouping.graphs.memory_bytes() == 0
    check([0, 1, 2], [1, 1, 1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("numerics", ["close", "exact"])
@pytest.mark.parametrize("net", NETS)
def test_families_on_a_gpu_answer_as_alone(net: str, numerics: Numerics, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before graphs, with them, and after an update; request inputs on the host and on the device."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)
    graph = NETS[net]()
    family = Family(graph, numerics=numerics, device="cuda")
    weights = random_weights(graph, 5)
    slots = [family.add(each) for each in weights]
    family.tune(slots, 2)

    def check(members: list[int]) -> None:
        inputs = [tuple(torch.randn(spec.sizes(2)) for spec in graph.inputs) for _ in members]
        given = [tuple(each.cuda() for each in own) if place % 2 else own for place, own in enumerate(inputs)]
        made = family.run(0, [slots[member] for member in members], given)
        family.finish()
        for member, own, state in zip(members, inputs, made, strict=True):
            assert isinstance(state, tuple)
            expected = interpreted(graph, weights[member], own)[0]
            torch.testing.assert_close(state[0].cpu(), expected, rtol=1e-3, atol=1e-4)

    for turn in range(60):  # a scattered set becomes hot on the way
        for members in ([0, 1, 2, 3, 4], [1, 4], [2]):
            check(members)
        while turn >= 3 and family.rest():
            pass
    graphs = family._grouping.graphs
    assert graphs is not None
    assert graphs.memory_bytes() > 0
    weights[1] = random_weights(graph, 1)[0]
    family.update(slots[1], weights[1])
    check([0, 1, 2, 3, 4])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_results_outlive_the_next_run() -> None:
    from paceline.multiplex.cuda.graphs import cuda_graphs

    with torch.inference_mode():
        graphs = cuda_graphs(torch.device("cuda"), 64 << 20)
        for _ in range(3):
            graphs.run(double, torch.ones(4))
        assert graphs.capture_next()
        first = graphs.run(double, torch.ones(4))[0]
        graphs.run(double, torch.zeros(4))
        assert first.tolist() == [2.0] * 4
