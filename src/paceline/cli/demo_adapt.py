"""The part of ``paceline demo`` that adapts a network: typefaces that it has never seen, by its head, by gates, and as a whole."""

from __future__ import annotations

import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from paceline.cli.console import working
from paceline.cli.doctor import is_complete
from paceline.cli.output import percent, sized
from paceline.errors import ExecutionError

if TYPE_CHECKING:
    from rich.console import Console

    from paceline.transfer.adapted import AdaptedNet
    from paceline.transfer.backbone.load import Base
    from paceline.transfer.fit.history import History
    from paceline.transfer.pictures.pictures import Pictures

_SHOTS: Final = 40  # pictures of each typeface
_EPOCHS: Final = 6
_SUCCESS: Final = 3  # times chance
_METHODS: Final = {"probe": "head alone", "affine": "affine gates", "full_finetune": "everything"}


class _Data(NamedTuple):
    train: Pictures
    val: Pictures
    test: Pictures


class _Fitted(NamedTuple):
    net: AdaptedNet
    history: History
    top1: float
    seconds: float


def show_adapters(screen: Console) -> None:
    """Learns the same classes three ways, tests each, and writes a report about the middle one."""
    if not is_complete("transfer") or find_spec("torch") is None or find_spec("safetensors") is None:
        screen.print("\n[bold]Adapters[/]: left out; they need pip install 'paceline\\[transfer]'")
        return
    from paceline.transfer.backbone.load import load_backbone

    base, data = load_backbone(), _drawn()
    screen.print(
        f"\n[bold]Adapters[/]: {len(data.train.classes)} typefaces that the packaged network has never seen, "
        f"{len(data.train):,} pictures to learn from, {len(data.test):,} others to test with"
    )
    folder = Path(tempfile.mkdtemp(prefix="paceline-demo-"))
    fitted = {}
    for name, text in _METHODS.items():
        with working(f"learning: {text} ...", quiet=not screen.is_terminal):
            fitted[name] = _fitted(base, data, name)
        size = _saved_bytes(base, fitted[name], folder / name)
        screen.print(
            f"  {text:13} {percent(fitted[name].top1)} right, {sized(size)}, learned in {fitted[name].seconds:.1f} s"
        )
    _check(fitted["affine"], len(data.train.classes))
    with working("writing the report ...", quiet=not screen.is_terminal):
        (folder / "report.html").write_text(_report(base, data, fitted["affine"]))
    screen.print(f"  which channels it needs, and what it mistakes for what: {folder / 'report.html'}", soft_wrap=True)


def _drawn() -> _Data:
    from paceline.transfer.embedded import typefaces
    from paceline.transfer.pictures.pictures import Pictures

    def drawn(shots: int, part: str) -> Pictures:
        found = typefaces(shots, split=part)
        paths = tuple(Path(f"{part}-{row}") for row in range(len(found.labels)))
        return Pictures(found.images, found.labels, found.classes, paths)

    return _Data(drawn(_SHOTS, "train"), drawn(_SHOTS // 4, "val"), drawn(_SHOTS // 2, "test"))


def _fitted(base: Base, data: _Data, name: str) -> _Fitted:
    from paceline.transfer.evaluate import evaluate
    from paceline.transfer.fit.options import FitOptions
    from paceline.transfer.fit.trainer import fit
    from paceline.transfer.methods import METHODS

    began = time.perf_counter()
    method = METHODS[name]
    net = method.make(base, len(data.train.classes))
    options = FitOptions(epochs=_EPOCHS, check_learning_rate=False)
    history = fit(net, data.train, data.val, method, options, preprocessing=base.preprocessing)
    seconds = time.perf_counter() - began
    return _Fitted(net, history, evaluate(net, data.test, base.preprocessing).top1, seconds)


def _saved_bytes(base: Base, fitted: _Fitted, folder: Path) -> int:
    """Of what one more customer costs on disk: an adapter, or, where everything was learned, a whole network in fp16."""
    from paceline.transfer.adapter import save_adapter
    from paceline.transfer.backbone.load import fingerprint
    from paceline.transfer.record import describe

    if fingerprint(fitted.net.backbone) != base.sha256:
        return 2 * sum(parameter.numel() for parameter in fitted.net.parameters())
    classes = tuple(f"typeface {number}" for number in range(fitted.net.head.out_features))
    save_adapter(folder, fitted.net, describe(base, fitted.net, classes, fitted.history, seed=0))
    return (folder / "adapter.safetensors").stat().st_size


def _check(fitted: _Fitted, num_classes: int) -> None:
    if fitted.top1 < _SUCCESS / num_classes:
        raise ExecutionError(
            f"the adapter of the demo is right in {percent(fitted.top1)}, which is little more than chance"
        )


def _report(base: Base, data: _Data, fitted: _Fitted) -> str:
    from paceline.transfer.batches import Labelled
    from paceline.transfer.rank import rank
    from paceline.transfer.report.make import make_report

    ranking = rank(fitted.net, Labelled(data.train, base.preprocessing))
    return make_report(
        fitted.net, data.test, base.preprocessing, title="20 typefaces", ranking=ranking, history=fitted.history
    )
