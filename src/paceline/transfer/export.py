"""An adapted network as one ONNX file, for any number of pictures at once."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import torch
from torch import Tensor

from paceline.errors import ConfigError, ExecutionError
from paceline.process.atomic import write_atomic
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Preprocessing
from paceline.transfer.fold import FoldedNet, fold

_TOLERANCE: Final = 1e-4  # of the largest logit; another library rounds in another order


def export_onnx(
    net: AdaptedNet | FoldedNet, path: str | Path, preprocessing: Preprocessing, classes: Sequence[str]
) -> None:
    """Writes ``net``, folded: input "pictures" [batch, C, size, size], prepared, output "logits" [batch, num_classes].

    The file's metadata hold ``classes`` and ``preprocessing`` as JSON. Its answers are compared with the network's own before
    it is written. ConfigError for gates that cannot be folded, or classes that do not fit; ExecutionError if the answers
    differ; ModuleNotFoundError without the packages of the extra ``onnx``.
    """
    import onnxruntime

    folded = copy.deepcopy(net if isinstance(net, FoldedNet) else fold(net)).cpu()
    if len(classes) != folded.head.out_features:
        raise ConfigError(f"the network has {folded.head.out_features} classes, but there are {len(classes)} names")
    pictures = torch.zeros(2, preprocessing.channels, preprocessing.size, preprocessing.size)
    with _quiet():
        program = torch.onnx.export(
            folded,
            (pictures,),
            input_names=["pictures"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # traces of the exporter's stack, with paths of this machine
    program.model.metadata_props["classes"] = msgspec.json.encode(list(classes)).decode()
    program.model.metadata_props["preprocessing"] = msgspec.json.encode(preprocessing).decode()
    data = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    _check(session, folded, pictures)
    write_atomic(Path(path), data)


def _check(session: object, folded: FoldedNet, pictures: Tensor) -> None:
    """ExecutionError unless both give the same for noise, in another number of pictures than was exported."""
    noise = torch.randn(3, *pictures.shape[1:], generator=torch.Generator().manual_seed(0))
    (found,) = session.run(["logits"], {"pictures": noise.numpy()})  # type: ignore[attr-defined]  # it ships no types
    with torch.inference_mode():
        own = folded(noise)
    difference = float((own - torch.from_numpy(found)).abs().max() / own.abs().max().clamp_min(1e-12))
    if not difference <= _TOLERANCE:
        raise ExecutionError(
            f"the ONNX network's answers differ from the network's own by {difference:.1e} of the largest"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says about packages that it does not need, and about torch's own inner parts."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
