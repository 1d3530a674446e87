"""What can be chosen for ``paceline adapt``. Only what belongs to the machine is also set by an environment variable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

NETWORK, TRAINING, PICTURES, CHANNELS, OUTPUT, MACHINE = (
    "Network",
    "Training",
    "Pictures",
    "Channels",
    "Output",
    "Machine",
)


def _option(panel: str, text: str, *names: str, unset: str | None = None, **more: Any) -> Any:
    """An option in a help panel; ``unset`` says what happens without it."""
    shown: bool | str = True if unset is None else unset or False
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=shown, **more)


def _argument(name: str, text: str) -> Any:
    return typer.Argument(metavar=name, help=text, show_default=False)


# fmt: off
Images = Annotated[Path, _argument("IMAGES", "A folder with a folder of pictures for each class, or with train/, val/ and test/ of that kind.")]
Adapter = Annotated[Path, _argument("ADAPTER", "The folder that 'paceline adapt train' wrote.")]
Pictures = Annotated[list[Path], _argument("PICTURE", "Picture files, or folders of them.")]

Base = Annotated[str | None, _option(NETWORK, "The pre-trained network: a .safetensors or .pth file, or 'embedded'.", "--base", metavar="FILE", envvar="PACELINE_ADAPT_BASE", unset="the one in the package")]
TrainedBase = Annotated[str | None, _option(NETWORK, "The pre-trained network that the adapter was made for.", "--base", metavar="FILE", envvar="PACELINE_ADAPT_BASE", unset="where it was in training")]
Arch = Annotated[str | None, _option(NETWORK, "Its architecture, such as resnet50.", "--arch", metavar="NAME", unset="what its tensors say")]
Gate = Annotated[str, _option(NETWORK, "What is learned in it: affine, out, lora, affine_lora, full, dynamic; none: only the head.", "--gate", metavar="NAME")]
From = Annotated[str, _option(NETWORK, "The first stage with gates, such as layer3; later is faster.", "--from", metavar="STAGE")]

Epochs = Annotated[int, _option(TRAINING, "Passes over the pictures, once the head is fitted.", "--epochs")]
HeadEpochs = Annotated[int, _option(TRAINING, "Views of each picture, varied, that the head alone is fitted to first.", "--head-epochs")]
BatchSize = Annotated[int, _option(TRAINING, "Pictures in one step.", "--batch-size")]
LearningRate = Annotated[float | None, _option(TRAINING, "Of the gates.", "--learning-rate", "--lr", unset="the gate's own, checked on the first steps")]
L1 = Annotated[float, _option(TRAINING, "Draws scales of channels to 0, so that fewer are in use.", "--l1")]
Patience = Annotated[int, _option(TRAINING, "End after so many epochs without a better validation loss; 0: never.", "--patience")]
Balance = Annotated[bool, _option(TRAINING, "Let a class with few pictures weigh as much as one with many.", "--balance")]
Flip = Annotated[bool, _option(TRAINING, "Mirror every other picture; not where left and right differ in meaning.", "--flip")]
Seed = Annotated[int, _option(TRAINING, "Of everything random: the same seed gives the same adapter.", "--seed")]
Methods = Annotated[list[str] | None, _option(TRAINING, "A method to compare. Repeatable.", "--method", "-m", metavar="NAME", unset="probe, all gates, full_finetune, scratch")]
Seeds = Annotated[int, _option(TRAINING, "Trainings of each method; with two or more, intervals are those of the mean.", "--seeds", min=1)]

Val = Annotated[float, _option(PICTURES, "Share of the pictures that training is judged by, unless IMAGES has a val/.", "--val", metavar="SHARE")]
Test = Annotated[float, _option(PICTURES, "Share kept aside for the figures at the end, unless IMAGES has a test/.", "--test", metavar="SHARE")]
Part = Annotated[Literal["auto", "train", "val", "test", "all"], _option(PICTURES, "Which of the pictures; auto: those for testing, or all of a folder that was not trained on.", "--part")]
Top = Annotated[int, _option(OUTPUT, "Classes named for each picture.", "--top", min=1)]

Criterion = Annotated[str, _option(CHANNELS, "What makes a channel matter: taylor, fisher, separation, activation, magnitude, gamma; for comparison weight_l1, random.", "--criterion", metavar="NAME")]
Against = Annotated[list[Path] | None, _option(CHANNELS, "An adapter that was trained with another --seed: says how far the rankings agree. Repeatable.", "--against", metavar="ADAPTER", unset="none")]
NumChannels = Annotated[int, _option(CHANNELS, "Channels that are printed.", "--num", "-n", min=1)]
RankingFile = Annotated[Path | None, _option(CHANNELS, "Write all scores to this .json file.", "--out", "-o", metavar="FILE", unset="none")]
Macs = Annotated[float, _option(CHANNELS, "Share of the multiplications that stays.", "--macs", metavar="SHARE")]
Heal = Annotated[int, _option(CHANNELS, "Passes over the pictures to learn back what cutting cost.", "--heal", min=0)]

JournalFile = Annotated[Path | None, _option(OUTPUT, "Keep each result in this file, so that a comparison that was stopped goes on.", "--journal", metavar="FILE", unset="none")]
Curve = Annotated[bool, _option(CHANNELS, "Also cut the network to several sizes and let each heal; takes as long as several trainings.", "--curve")]
Compared = Annotated[Path | None, _option(OUTPUT, "What 'paceline adapt compare --json' printed: shown beside it.", "--compared", metavar="FILE", unset="none")]
ReportFile = Annotated[Path, _option(OUTPUT, "The .html file to write.", "--out", "-o", metavar="FILE", unset="")]
FoldedFile = Annotated[Path, _option(OUTPUT, "The .safetensors file to write.", "--out", "-o", metavar="FILE", unset="")]
OnnxFile = Annotated[Path, _option(OUTPUT, "The .onnx file to write.", "--out", "-o", metavar="FILE", unset="")]
Out = Annotated[Path, _option(OUTPUT, "The folder to write to.", "--out", "-o", metavar="DIR", unset="")]
Resume = Annotated[bool, _option(OUTPUT, "Go on with the training that was cut short in this folder.", "--resume")]
Overwrite = Annotated[bool, _option(OUTPUT, "Replace what is in this folder.", "--overwrite")]

Precision = Annotated[Literal["auto", "float32", "bfloat16"], _option(MACHINE, "Numbers to compute with; auto: bfloat16 where the machine is fast at it.", "--precision")]
Device = Annotated[str, _option(MACHINE, "Where to compute: cpu or cuda.", "--device")]
Threads = Annotated[int | None, _option(MACHINE, "Threads to compute with.", "--threads", envvar="PACELINE_THREADS", unset="one per core")]
# fmt: on
