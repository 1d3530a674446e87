"""A training that can be run in a process of its own, which a test kills: ``training_process FILE METHOD STAGE``."""

from __future__ import annotations

import sys
from pathlib import Path

from torch import Tensor

from paceline.transfer.fit.history import EpochRecord, Phase, Progress
from paceline.transfer.fit.trainer import fit
from paceline.transfer.methods import METHODS
from tests.transfer.fit.made import PREPROCESSING, adapted, options, pictures


class Telling:
    """Says on standard output each step that is done."""

    def begin(self, phase: Phase, num_steps: int) -> None:
        pass

    def step(self, loss: float) -> None:
        sys.stdout.write("step\n")
        sys.stdout.flush()

    def end_epoch(self, record: EpochRecord) -> None:
        pass


def run(
    method: str, from_stage: str, file: Path | None = None, *, resume: bool = False, progress: Progress | None = None
) -> dict[str, Tensor]:
    """All tensors of the trained network. A step is one of the head, of a trial or of an epoch; each is saved."""
    net = adapted(method, from_stage)
    given = options(epochs=8, checkpoint_every_s=0.0, l1=0.1, learning_rate=3e-3)
    fit(
        net, pictures(), pictures(seed=1), METHODS[method], given, preprocessing=PREPROCESSING,
        checkpoint=file, resume=resume, progress=progress,
    )  # fmt: skip
    return net.state_dict()


if __name__ == "__main__":
    run(sys.argv[2], sys.argv[3], Path(sys.argv[1]), progress=Telling())
