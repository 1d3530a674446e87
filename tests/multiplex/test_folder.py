from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from paceline.errors import ModelError
from paceline.multiplex import folder as folders
from paceline.multiplex.architectures import build
from paceline.multiplex.capture import capture, interpret
from paceline.multiplex.folder import load_model, save_architecture, save_model
from paceline.multiplex.op import Many, Op, Rows, Spec, Value, Weight
from paceline.multiplex.shared import SharedFiles
from tests.multiplex.capture.models import TAKEN


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    save_model(tmp_path, capture(model, (torch.zeros(1, 4),)), slo_s=0.05, max_rows=16)
    return tmp_path


def edit(folder: Path, **changes: Any) -> None:
    """Replaces parts of the graph in a saved folder."""
    path = folder / "model.json"
    described = json.loads(path.read_text())
    described["graph"] |= json.loads(msgspec.json.encode(changes))
    path.write_text(json.dumps(described))


@pytest.mark.parametrize("name", ["mlp", "residual", "lstm both ways", "decoder", "embedding", "fixed mask", "einsums"])
def test_saved_model_is_loaded_as_it_was(name: str, tmp_path: Path) -> None:
    model, examples = TAKEN[name]()
    captured = capture(model, examples)
    save_model(tmp_path, captured, slo_s=0.05, max_rows=16)
    loaded = load_model(tmp_path, SharedFiles())
    assert loaded.graph == captured.graph
    assert (loaded.limits.slo_s, loaded.limits.max_rows) == (0.05, 16)
    found = interpret(loaded.graph, loaded.weights, examples)
    assert all(map(torch.equal, found, interpret(captured.graph, captured.weights, examples)))


@pytest.mark.parametrize(("name", "shape"), [("mlp", (1, 64)), ("adapted", (1, 3, 32, 32))])
def test_architecture_is_loaded_with_its_weights(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    network, x = build(name), torch.randn(shape)
    save_architecture(tmp_path, name, {}, network, (x,), slo_s=0.05, max_rows=16)
    loaded = load_model(tmp_path, SharedFiles())
    with torch.no_grad():
        torch.testing.assert_close(interpret(loaded.graph, loaded.weights, [x])[0], network(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["old.pt", "weights.bin", "sub/model.PKL", "model.pt2"])
def test_folder_with_a_pickle_is_refused(saved: Path, name: str) -> None:
    (saved / name).parent.mkdir(exist_ok=True)
    (saved / name).write_bytes(b"")
    with pytest.raises(ModelError, match="may be a pickle"):
        load_model(saved, SharedFiles())


def test_folder_without_its_files_is_refused(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ModelError, match=r"model.json: cannot be read"):
        load_model(tmp_path_factory.mktemp("empty"), SharedFiles())
    (saved / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match=r"weights.safetensors: cannot be read"):
        load_model(saved, SharedFiles())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "truncated"),
        ('{"kind": "pickle"}', "kind"),
        ('{"kind": "graph", "graph": 3}', "Expected `object`"),
        ('{"kind": "architecture", "architecture": "mlp", "options": {}, "inputs": [], "limits": {"slo_s": 0, "max_rows": 1}}', "slo_s"),
        ("[" * 100_000, "model.json"),
        ('"' + "x" * folders.MAX_JSON_BYTES + '"', "larger than"),
    ],
)  # fmt: skip
def test_odd_json_is_refused(saved: Path, text: str, reason: str) -> None:
    (saved / "model.json").write_text(text)
    with pytest.raises(ModelError, match=reason):
        load_model(saved, SharedFiles())


ROWS = Spec((Rows(), 4), "float32")
BAD_GRAPHS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown operator": ({"ops": [Op("aten.set_.default", (Value(0),), (ROWS,))]}, "not on the list"),
    "operator of no ATen": ({"ops": [Op("os.system.default", ("true",), (ROWS,))]}, "not on the list"),
    "wrong shape": ({"ops": [Op("aten.relu.default", (Value(0),), (Spec((Rows(), 5), "float32"),))]}, "not as this version"),
    "value from later": ({"ops": [Op("aten.relu.default", (Value(1),), (ROWS,))]}, "not a valid model"),
    "negative value": ({"ops": [Op("aten.relu.default", (Value(-1),), (ROWS,))]}, "not as this version"),
    "unknown weight": ({"ops": [Op("aten.add.Tensor", (Value(0), Weight("x")), (ROWS,))]}, "not a valid model"),
    "weights alone": ({"ops": [Op("aten.relu.default", (Weight("0.bias"),), (ROWS,))]}, "weights alone"),
    "mixed rows": ({"ops": [Op("aten.cumsum.default", (Value(0), 0), (ROWS,))]}, "would mix"),
    "too few arguments": ({"ops": [Op("aten.linear.default", (Value(0),), (ROWS,))]}, "model.json"),
    "unknown type": ({"inputs": [Spec((Rows(), 4), "load")]}, "not a valid model"),
    "no rows": ({"inputs": [Spec((3, 4), "float32")]}, "rows"),
    "results beyond": ({"outputs": [99]}, "not a valid model"),
    "names without results": ({"structure": "dict", "names": ["a", "b"]}, "names"),
    "endless pad": (
        {"ops": [Op("aten.constant_pad_nd.default", (Value(0), Many((0, 2**40)), 0), (Spec((Rows(), 2**40 + 4), "float32"),))]},
        "larger than",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_GRAPHS)
def test_graph_that_breaks_a_rule_is_refused(saved: Path, name: str) -> None:
    changes, reason = BAD_GRAPHS[name]
    edit(saved, **({"outputs": [1]} if "ops" in changes else {}) | changes)
    with pytest.raises(ModelError, match=reason):
        load_model(saved, SharedFiles())


def test_weights_that_do_not_fit_are_refused(saved: Path) -> None:
    path = saved / "weights.safetensors"
    weights = load_file(path)
    save_file(weights | {"0.bias": torch.full((8,), torch.nan)}, path)
    with pytest.raises(ModelError, match=r"'0.bias' holds NaN"):
        load_model(saved, SharedFiles())
    save_file(weights | {"0.bias": torch.zeros(7)}, path)
    with pytest.raises(ModelError, match=r"does not fit model.json: 0.bias"):
        load_model(saved, SharedFiles())
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ModelError, match="not a valid safetensors file"):
        load_model(saved, SharedFiles())


def test_architecture_that_does_not_fit_its_weights_is_refused(tmp_path: Path) -> None:
    network = build("mlp", width=8)
    for options, reason in (({"width": 2**40}, "larger than"), ({"width": 9}, "size mismatch"), ({"no": 1}, "no")):
        save_architecture(tmp_path, "mlp", options, network, (torch.zeros(1, 8),), slo_s=1.0, max_rows=4)
        with pytest.raises(ModelError, match=reason):
            load_model(tmp_path, SharedFiles())


# -- weights that lie beside the folders ------------------------------------------------------------------------------


@pytest.fixture
def sharing(tmp_path: Path) -> Path:
    """Two models over one base, whose weights lie beside their folders; the head is each one's own."""
    for number in range(2):
        torch.manual_seed(0)
        network = build("mlp", width=8, num_outputs=8)
        torch.manual_seed(1 + number)
        torch.nn.init.normal_(network.head.weight)  # type: ignore[union-attr, arg-type]
        base = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("head")}
        save_file(base, tmp_path / "base.safetensors")
        options = {"width": 8, "num_outputs": 8}
        shared = ("base.safetensors", base.keys())
        save_architecture(
            tmp_path / f"m{number}", "mlp", options, network, (torch.zeros(1, 8),), slo_s=1.0, max_rows=4, shared=shared
        )
    return tmp_path


def test_shared_weights_are_read_once_and_are_the_same_objects(sharing: Path) -> None:
    files = SharedFiles()
    one, other = (load_model(sharing / name, files) for name in ("m0", "m1"))
    same = [name for name in one.weights if one.weights[name].data_ptr() == other.weights[name].data_ptr()]
    assert same
    assert len(load_file(sharing / "m0" / "weights.safetensors")) < len(one.weights)


@pytest.mark.parametrize("name", ["../base.safetensors", "/etc/passwd", "base.bin", "sub/base.safetensors", ".."])
def test_shared_file_elsewhere_is_refused(sharing: Path, name: str) -> None:
    path = sharing / "m0" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"shared": name}))
    with pytest.raises(ModelError, match="beside the folder"):
        load_model(sharing / "m0", SharedFiles())


def test_shared_file_that_is_missing_is_named(sharing: Path) -> None:
    (sharing / "base.safetensors").unlink()
    with pytest.raises(ModelError, match=r"base\.safetensors: cannot be read"):
        load_model(sharing / "m0", SharedFiles())
