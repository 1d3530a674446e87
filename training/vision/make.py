"""Makes the packaged network and the glyphs of its targets; one command, fixed seeds.

`python -m training.vision fonts --install` fetches the fonts (as root, after `apt-get update`) and says what differs from the pinned ones;
`python -m training.vision targets` writes the glyphs of the targets; `python -m training.vision base` trains the network.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Final

import torch

from paceline.transfer.embedded.targets import read_masters
from training.vision import choice
from training.vision.export import export, rewrite_card, rounded
from training.vision.fonts import MANIFEST, differences, install, read_manifest
from training.vision.pictures import read_alphabets
from training.vision.pretrain import Recipe, evaluate, pretrain
from training.vision.targets import TARGETS, write_masters

ROOT: Final = Path(__file__).parents[2]


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m training.vision", description=__doc__)
    commands = result.add_subparsers(dest="command", required=True)
    fonts = commands.add_parser("fonts", help="say how the fonts of this machine differ from the pinned ones")
    fonts.add_argument("--install", action="store_true", help="fetch the missing packages by apt-get first; for root")
    fonts.add_argument("--pin", action="store_true", help="pin what is on this machine instead")
    targets = commands.add_parser("targets", help="write the glyphs of the targets")
    base = commands.add_parser("base", help="train the network and write it with its card")
    base.add_argument("--resume", action="store_true", help="from the checkpoint in --work, if there is one")
    base.add_argument("--work", type=Path, default=ROOT / "build/vision", help="holds the checkpoint")
    base.add_argument("--epochs", type=int, default=Recipe().epochs)
    base.add_argument("--pictures", type=int, default=Recipe().pictures_per_epoch, help="of one epoch")
    base.add_argument("--seed", type=int, default=0)
    base.add_argument("--threads", type=int, default=1, help="of torch; more than the free cores make it slower")
    card = commands.add_parser("card", help="write the model card anew")
    for command in (targets, base, card):
        command.add_argument("--out", type=Path, default=ROOT / "src/paceline/transfer/embedded")
    return result


def check_fonts(*, fetch: bool, pin: bool) -> int:
    """Prints what differs; returns how much."""
    if fetch:
        install(choice.LICENSES)
    if pin:
        choice.write(MANIFEST, choice.pin())
    found = list(differences(read_manifest()))
    for difference in found:
        print(f"{difference.package}: {difference.text}")
    if not found:
        print("every face is the pinned one")
    return len(found)


def make_base(given: argparse.Namespace) -> None:
    torch.set_num_threads(given.threads)
    packages = read_manifest()
    alphabets = read_alphabets(packages)
    recipe = Recipe(epochs=given.epochs, pictures_per_epoch=given.pictures, seed=given.seed)
    trainee, seconds = pretrain(
        alphabets,
        recipe,
        given.work / f"{recipe.arch}.checkpoint",
        resume=given.resume,
        log=lambda text: print(f"{time.strftime('%H:%M:%S')} {text}", flush=True),
    )
    learned = trainee.backbone
    trainee.backbone = rounded(learned)
    measured = {**evaluate(trainee, alphabets, recipe), "seconds": round(seconds)}
    print(measured)
    export(given.out, learned, recipe, measured, packages)


def main() -> None:
    given = parser().parse_args()
    match given.command:
        case "fonts":
            raise SystemExit(min(1, check_fonts(fetch=given.install, pin=given.pin)))
        case "targets":
            for name in TARGETS:
                path = write_masters(read_manifest(), name, given.out)
                print(f"{path}: {path.stat().st_size:,} bytes, {len(read_masters(name).classes)} classes")
        case "base":
            make_base(given)
        case "card":
            rewrite_card(given.out, read_manifest())


if __name__ == "__main__":
    main()
