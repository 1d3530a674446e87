"""The weights of a model folder, under names that do not depend on the family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paceline.errors import ModelError
from paceline.llm.model.config import ModelConfig
from paceline.llm.model.folder import locate, read_json
from paceline.llm.model.tensorfile import Tensor, TensorFile

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWeights:
    """One decoder layer; H hidden, D head, Hq and Hkv heads, F feed-forward."""

    input_norm: Tensor  # [H]
    q: Tensor  # [Hq * D, H]
    k: Tensor  # [Hkv * D, H]
    v: Tensor  # [Hkv * D, H]
    q_bias: Tensor | None  # [Hq * D]
    k_bias: Tensor | None  # [Hkv * D]
    v_bias: Tensor | None  # [Hkv * D]
    q_norm: Tensor | None  # [D]
    k_norm: Tensor | None  # [D]
    o: Tensor  # [H, Hq * D]
    o_bias: Tensor | None  # [H]
    post_norm: Tensor  # [H]
    gate: Tensor  # [F, H]
    up: Tensor  # [F, H]
    down: Tensor  # [H, F]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderWeights:
    """All weights as lazy maps of the files; ``head`` is None where it is the embedding itself."""

    embed: Tensor  # [V, H]
    head: Tensor | None  # [V, H]
    final_norm: Tensor  # [H]
    layers: Sequence[LayerWeights]
    files: tuple[TensorFile, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes that the tensors take in the files."""
        return sum(file.num_bytes(name) for file in self.files for name in file.names)

    def drop_pages(self) -> None:
        """Give back the memory of what was read so far; call it after packing a layer."""
        for file in self.files:
            file.drop_pages()


def open_weights(folder: Path, config: ModelConfig) -> DecoderWeights:
    """Map the safetensors of ``folder``, one file or the shards its index names, and check every shape.

    Raises ``ModelError`` for missing, misshaped or mistyped tensors, and for files that lie about themselves.
    """
    files = _open_files(folder)
    owners = {name: file for file in files for name in file.names}
    hidden, inner = config.hidden_size, config.intermediate_size

    def tensor(name: str, *shape: int) -> Tensor:
        if name not in owners:
            raise ModelError(f"{folder}: tensor {name} is missing; config.json asks for {list(shape)}")
        return owners[name].tensor(name, shape)

    def layer(index: int) -> LayerWeights:
        def own(name: str, *shape: int) -> Tensor:
            return tensor(f"model.layers.{index}.{name}", *shape)

        def bias(name: str, size: int, present: bool) -> Tensor | None:
            return own(f"self_attn.{name}.bias", size) if present else None

        def norm(name: str) -> Tensor | None:
            return own(f"self_attn.{name}.weight", config.head_dim) if config.qk_norm else None

        return LayerWeights(
            input_norm=own("input_layernorm.weight", hidden),
            q=own("self_attn.q_proj.weight", config.q_size, hidden),
            k=own("self_attn.k_proj.weight", config.kv_size, hidden),
            v=own("self_attn.v_proj.weight", config.kv_size, hidden),
            q_bias=bias("q_proj", config.q_size, config.qkv_bias),
            k_bias=bias("k_proj", config.kv_size, config.qkv_bias),
            v_bias=bias("v_proj", config.kv_size, config.qkv_bias),
            q_norm=norm("q_norm"),
            k_norm=norm("k_norm"),
            o=own("self_attn.o_proj.weight", hidden, config.q_size),
            o_bias=bias("o_proj", hidden, config.o_bias),
            post_norm=own("post_attention_layernorm.weight", hidden),
            gate=own("mlp.gate_proj.weight", inner, hidden),
            up=own("mlp.up_proj.weight", inner, hidden),
            down=own("mlp.down_proj.weight", hidden, inner),
        )

    return DecoderWeights(
        embed=tensor("model.embed_tokens.weight", config.vocab_size, hidden),
        head=None if config.tied_embeddings else tensor("lm_head.weight", config.vocab_size, hidden),
        final_norm=tensor("model.norm.weight", hidden),
        layers=tuple(layer(index) for index in range(config.num_layers)),
        files=files,
    )


def _open_files(folder: Path) -> tuple[TensorFile, ...]:
    single = locate(folder, _SINGLE)
    if single is not None:
        return (TensorFile(single),)
    index = read_json(folder, _INDEX)
    if index is None:
        raise ModelError(_nothing_to_load(folder))
    weight_map = index.section("weight_map")
    if weight_map is None or not all(isinstance(file, str) for file in weight_map.values.values()):
        raise index.wrong("weight_map", "an object that gives each tensor's file")
    files: dict[str, TensorFile] = {}
    for name in dict.fromkeys(weight_map.values.values()):
        path = locate(folder, name) if name.endswith(".safetensors") else None
        if path is None:
            raise ModelError(f"{index.source}: names the shard {name[:80]!r}, which is not a safetensors file here")
        files[name] = TensorFile(path)
    _check_owners(index.source, weight_map.values, files)
    return tuple(files.values())


def _check_owners(source: str, weight_map: dict[str, str], files: dict[str, TensorFile]) -> None:
    stored = {name: frozenset(file.names) for name, file in files.items()}
    for tensor, file in weight_map.items():
        if tensor not in stored[file]:
            raise ModelError(f"{source}: {file} does not hold {tensor[:80]!r}")
    if sum(map(len, stored.values())) != len(frozenset().union(*stored.values())):
        raise ModelError(f"{source}: two shards hold a tensor of the same name")


def _nothing_to_load(folder: Path) -> str:
    pickled = sorted(path.name for path in folder.glob("*") if path.suffix in {".bin", ".pt", ".pth", ".ckpt"})
    if pickled:
        return (
            f"{folder}: weights only as {pickled[0]}, a format that can run code when loaded; "
            "convert them to safetensors"
        )
    return f"{folder}: no {_SINGLE} and no {_INDEX}"
