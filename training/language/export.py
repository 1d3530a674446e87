"""Model folders in the layout of Hugging Face: what the package ships and other engines read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from training.language.model import ModelConfig, Qwen3
from training.language.tokenizer import END, END_OF_TEXT, special_id, tokenizer_files

WEIGHTS = "model.safetensors"


def write_file(path: Path, text: str) -> None:
    """Replaces the file in one step: a reader sees the old text or the new one."""
    beside = path.with_name(path.name + ".writing")
    beside.write_text(text, "utf-8")
    os.replace(beside, path)


def export(folder: Path, model: Qwen3, tokenizer: Tokenizer) -> None:
    """Writes the folder, except for its README.md (see `evaluate`). Weights are bf16; the tied head is not repeated."""
    folder.mkdir(parents=True, exist_ok=True)
    end, end_of_text = special_id(tokenizer, END), special_id(tokenizer, END_OF_TEXT)
    config = model.config.to_json(end, end_of_text)
    generation = {"eos_token_id": [end, end_of_text], "pad_token_id": end_of_text, "do_sample": False}
    for name, values in (("config.json", config), ("generation_config.json", generation)):
        write_file(folder / name, json.dumps(values, indent=2) + "\n")
    for name, text in tokenizer_files(tokenizer, model.config.max_position_embeddings).items():
        write_file(folder / name, text)
    weights = {name: p.detach().to("cpu", torch.bfloat16).contiguous() for name, p in model.named_parameters()}
    beside = folder / f"{WEIGHTS}.writing"
    save_file(weights, beside, {"format": "pt"})
    beside.chmod(0o644)  # save_file makes it readable by its owner alone
    os.replace(beside, folder / WEIGHTS)


def load(folder: Path) -> Qwen3:
    """The network of a folder, in float32."""
    config = ModelConfig.from_json(json.loads((folder / "config.json").read_text("utf-8")))
    model = Qwen3(config)
    model.load_state_dict({name: value.float() for name, value in load_file(folder / WEIGHTS).items()})
    return model
