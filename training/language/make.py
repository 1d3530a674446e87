"""Makes the tokenizer, the target, the draft and the target's draft heads; one command, fixed seeds.

For example `python -m training.language --minutes 120 --out src/paceline/llm/embedded`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from tokenizers import Tokenizer

from training.language.corpus import Corpus, encode_code, sample_texts
from training.language.evaluate import write_model_card
from training.language.export import WEIGHTS, export, load
from training.language.model import DRAFT, TARGET, ModelConfig, Qwen3
from training.language.tokenizer import load_tokenizer, train_tokenizer
from training.language.train import TrainConfig, train

ROOT: Final = Path(__file__).parents[2]
CONFIGS: Final[dict[str, ModelConfig]] = {"target": TARGET, "draft": DRAFT}
HEADS: Final = "heads"
SHARES: Final = {"target": 0.76, "draft": 0.18, HEADS: 0.06}  # of the minutes, where all are made


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    models: tuple[str, ...]
    out: Path
    work: Path
    resume: bool
    device: torch.device
    compiled: bool
    export_every_s: float


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m training.language", description=__doc__)
    result.add_argument("--minutes", type=float, default=120.0, help="wall clock for the training, pauses included")
    result.add_argument("--steps", type=int, default=1_000_000, help="most steps of this run, for each model")
    result.add_argument("--models", nargs="+", choices=tuple(SHARES), default=list(SHARES), help="which to train")
    result.add_argument("--out", type=Path, default=ROOT / "src/paceline/llm/embedded", help="holds target/ and draft/")
    result.add_argument("--work", type=Path, default=ROOT / "build/language", help="holds the checkpoints")
    result.add_argument("--resume", action="store_true", help="from the checkpoint, or else from the weights in --out")
    result.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    result.add_argument("--compile", action="store_true", help="let torch.compile fuse the layers")
    result.add_argument("--threads", type=int, default=None, help="of torch, on a CPU")
    result.add_argument("--tokens", type=int, default=4096, help="per step")
    result.add_argument("--rate", type=float, default=1.6e-3, help="peak learning rate")
    result.add_argument("--decay-share", type=float, default=0.5, help="share of the minutes with a falling rate")
    result.add_argument("--export-minutes", type=float, default=15.0, help="between two exports while training")
    result.add_argument("--pause-file", type=Path, default=None, help="take no step while this file exists")
    result.add_argument("--seed", type=int, default=0)
    return result


def obtain_tokenizer(options: Options, seed: int) -> Tokenizer:
    """The tokenizer that is there, if we resume; else a new one."""
    folder = options.out / "target"
    if options.resume and (folder / "tokenizer.json").exists():
        return load_tokenizer(folder)
    return train_tokenizer(sample_texts(seed, num_chats=20_000))


def obtain_model(name: str, options: Options, seed: int) -> Qwen3:
    folder = options.out / name
    if options.resume and (folder / WEIGHTS).exists():
        return load(folder).to(options.device)
    model = Qwen3(CONFIGS[name])
    model.initialise(seed)
    return model.to(options.device)


def every(seconds: float, act: Callable[[], None]) -> Callable[[], None]:
    """`act`, but not more often than once in `seconds`."""
    last = time.monotonic()

    def call() -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            act()
            last = time.monotonic()

    return call


def make(name: str, tokenizer: Tokenizer, config: TrainConfig, options: Options) -> None:
    """Trains one model and writes its folder. The draft learns from the target as well as from the text."""
    model, folder = obtain_model(name, options, config.seed), options.out / name
    teacher = load(options.out / "target").to(options.device).eval() if name == "draft" else None
    if options.compiled:
        for layer in model.model.layers:
            layer.compile(dynamic=False)
    export(folder, model, tokenizer)
    train(
        model,
        Corpus(tokenizer, encode_code(tokenizer, held_out=False), config.seed),
        config,
        options.work / f"{name}.safetensors",
        resume=options.resume,
        on_save=every(options.export_every_s, lambda: export(folder, model, tokenizer)),
        teacher=teacher,
        log=lambda text: print(f"{time.strftime('%H:%M:%S')} {name}: {text}", flush=True),
    )
    export(folder, model, tokenizer)
    write_model_card(folder)


def make_heads(config: TrainConfig, options: Options, threads: int | None) -> None:
    from training.language.train_heads import train_heads  # needs the package, which the models do not

    train_heads(
        options.out / "target",
        options.work / f"{HEADS}.safetensors",
        config,
        resume=options.resume,
        threads=threads,
        log=lambda text: print(f"{time.strftime('%H:%M:%S')} {HEADS}: {text}", flush=True),
    )


def main() -> None:
    given = parser().parse_args()
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    options = Options(
        models=tuple(name for name in SHARES if name in given.models),  # the target first: it teaches
        out=given.out,
        work=given.work,
        resume=given.resume,
        device=torch.device(given.device),
        compiled=given.compile,
        export_every_s=given.export_minutes * 60,
    )
    if set(options.models) & set(CONFIGS):
        tokenizer = obtain_tokenizer(options, given.seed)
    total = sum(SHARES[name] for name in options.models)
    for name in options.models:
        config = TrainConfig(
            minutes=given.minutes * SHARES[name] / total,
            max_steps=given.steps,
            num_tokens=given.tokens,
            peak_rate=given.rate,
            decay_share=given.decay_share,
            seed=given.seed,
            pause_file=given.pause_file,
        )
        if name == HEADS:
            make_heads(config, options, given.threads)
        else:
            make(name, tokenizer, config, options)


if __name__ == "__main__":
    main()
