"""Makes the packaged detectors; fixed seeds.

`python -m training.streaming pictures` renders what is learned from; `train small|medium` trains one set of weights and goes on where it
stopped (`--device cuda` on a GPU); `export` writes what the checkpoints hold into the package; `evaluate` prints how good and how fast they are;
`calibrate` prints what the rendered drives measure beside what is wanted of them.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import torch

from training.streaming.calibrate import calibrate
from training.streaming.card import card
from training.streaming.evaluate import evaluate, measure, read_profile, table
from training.streaming.export import export
from training.streaming.ladder import EMBEDDED, describe
from training.streaming.network import SHAPES, Detector
from training.streaming.pictures import make, read
from training.streaming.train import RECIPES, load, train

WORK: Final = Path(__file__).parents[2] / "build/streaming"


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m training.streaming", description=__doc__)
    result.add_argument("--work", type=Path, default=WORK, help="holds pictures and checkpoints")
    result.add_argument("--out", type=Path, default=EMBEDDED)
    commands = result.add_subparsers(dest="command", required=True)
    pictures = commands.add_parser("pictures", help="render what is learned from; those that are there stay")
    pictures.add_argument("--drives", type=int, default=420, help="eight pictures each")
    fit = commands.add_parser("train", help="train one set of weights, or go on with it")
    fit.add_argument("name", choices=list(RECIPES))
    fit.add_argument("--steps", type=int, help="of all; the recipe's, if not given")
    fit.add_argument("--batch", type=int, help="pieces of one step; the recipe's, if not given")
    fit.add_argument("--device", default="cpu")
    fit.add_argument("--workers", type=int, default=0, help="processes that cut pieces; a GPU waits for fewer than ten")
    fit.add_argument("--threads", type=int, default=1, help="of torch; more than the free cores make it slower")
    commands.add_parser("export", help="write the checkpoints' weights as ONNX")
    judge = commands.add_parser("evaluate", help="print precision, recall and seconds; keep them beside the weights")
    judge.add_argument("--drives", type=int, default=24, help="fresh drives, eight pictures each")
    judge.add_argument(
        "--no-latency", action="store_true", help="keep the recorded seconds, say when the machine is busy"
    )
    judge.add_argument("--no-precision", action="store_true", help="keep the recorded precision")
    compare = commands.add_parser("calibrate", help="statistics of rendered drives beside those of real ones")
    compare.add_argument("--drives", type=int, default=150)
    compare.add_argument("--fast-drives", type=int, default=30, help="at 30 Hz, for the self-IoU")
    return result


def make_weights(given: argparse.Namespace) -> None:
    torch.set_num_threads(given.threads)
    recipe = RECIPES[given.name]
    recipe = msgspec.structs.replace(recipe, steps=given.steps or recipe.steps, batch=given.batch or recipe.batch)
    train(
        recipe,
        given.work / "train",
        given.work / f"{given.name}.safetensors",
        device=given.device,
        workers=given.workers,
        log=lambda text: print(f"{time.strftime('%H:%M:%S')} {text}", flush=True),
    )


def write_weights(given: argparse.Namespace) -> None:
    given.out.mkdir(parents=True, exist_ok=True)
    trained: dict[str, Any] = {}
    for name, shape in SHAPES.items():
        net = Detector(shape)
        counters = load(given.work / f"{name}.safetensors", net)
        num_parameters = sum(parameter.numel() for parameter in net.fold().parameters())
        trained[name] = {"parameters": num_parameters, "recipe": msgspec.to_builtins(RECIPES[name]), **counters}
        export(net, given.out / f"{name}.onnx", {"name": name, "steps": str(counters["step"])})
        print(f"{name}: {num_parameters:,} parameters after {counters['step']} steps")
    pictures = len(read(given.work / "train"))
    judged = {name: value for name, value in _known(given.out).items() if name in ("measured", "test_pictures")}
    _write(given.out, {"trained": trained, "pictures": pictures} | judged)


def judge(given: argparse.Namespace) -> None:
    known = _known(given.out)
    if not given.no_precision:
        known["measured"] = evaluate(given.out, given.drives)
        known["test_pictures"] = given.drives * 8
    if not given.no_latency:
        profile = measure(given.out, threads=(1, 2), repeats=60, most_s=15.0)
        (given.out / "profile.json").write_text(json.dumps(profile) + "\n")
    _write(given.out, known)
    print(table(known["measured"], read_profile(given.out)))


def _known(folder: Path) -> dict[str, Any]:
    path = folder / "detectors.json"
    return dict(json.loads(path.read_text())["made"]) if path.exists() else {}


def _write(folder: Path, made: dict[str, Any]) -> None:
    about = describe(made.get("measured", {})) | {"made": made}
    (folder / "detectors.json").write_text(json.dumps(about, indent=2) + "\n")
    (folder / "README.md").write_text(card(about, read_profile(folder)))


def main() -> None:
    given = parser().parse_args()
    match given.command:
        case "pictures":
            for path in make(given.work / "train", given.drives):
                print(path, flush=True)
        case "train":
            make_weights(given)
        case "export":
            write_weights(given)
        case "evaluate":
            judge(given)
        case "calibrate":
            calibrate(given.drives, given.fast_drives)


if __name__ == "__main__":
    main()
