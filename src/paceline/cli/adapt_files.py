"""``paceline adapt fold`` and ``export``: an adapter and its base as one file for other programs."""

from __future__ import annotations

import json

from paceline.cli import adapt_options as a
from paceline.cli import options as o
from paceline.cli.adapt_open import open_adapter, open_network
from paceline.cli.console import say, working
from paceline.cli.output import check_file, sized
from paceline.process.atomic import write_atomic


def fold(
    adapter: a.Adapter,
    out: a.FoldedFile,
    base: a.TrainedBase = None,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Write base, gates and head as one plain network: the same answers, no gates and no norms, no slower than the base.

    Example: paceline adapt fold birds/ --out birds.safetensors

    The file's metadata hold arch, classes and preprocessing, as JSON.
    """
    from msgspec import to_builtins
    from safetensors.torch import save

    from paceline.transfer.fold import fold as folded

    check_file(out, ".safetensors")
    opened = open_adapter(adapter, base)
    tensors = {name: tensor.contiguous() for name, tensor in folded(opened.net).state_dict().items()}
    metadata = {
        "arch": opened.info.arch,
        "classes": json.dumps(opened.classes),
        "preprocessing": json.dumps(to_builtins(opened.preprocessing)),
    }
    data = save(tensors, metadata)
    write_atomic(out, data)
    say(
        f"wrote {out}, {sized(len(data))}: {len(tensors)} tensors of {opened.info.arch} without norms, {len(opened.classes)} classes",
        quiet=quiet,
    )


def export(
    adapter: a.Adapter,
    out: a.OnnxFile,
    base: a.TrainedBase = None,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Write an adapter with its base, or a pruned network, as an ONNX model for any number of pictures at once.

    Example: paceline adapt export birds/ --out birds.onnx

    Its answers are compared with the network's own first. Its metadata hold classes and preprocessing.
    """
    from paceline.transfer.adapted import AdaptedNet
    from paceline.transfer.export import export_onnx
    from paceline.transfer.fold import FoldedNet

    check_file(out, ".onnx")
    opened = open_network(adapter, base)
    assert isinstance(opened.net, AdaptedNet | FoldedNet)
    with working("exporting ...", quiet=quiet):
        export_onnx(opened.net, out, opened.preprocessing, opened.classes)
    say(f"wrote {out}, {sized(out.stat().st_size)}: input 'pictures', output 'logits'", quiet=quiet)
