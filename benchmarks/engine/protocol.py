"""What is measured, and how often: the quick form and the full one differ in counts alone."""

from __future__ import annotations

from dataclasses import dataclass

PROMPT_TOKENS = 64
BATCHES = (1, 8, 32)
NUM_THREADS = 2
KV_MEMORY = 512 * 2**20  # of the served engine: 32 sequences of model A fit, and the bound on memory is known

GROUPS = ("A", "A-int8", "A-int4", "B")  # model, then weights other than bfloat16
ARMS = ("paceline", "transformers", "vllm", "openvino", "llamacpp")
RUNNER = "paceline_runner"  # Paceline's runner alone, in a process of its own
QUANTIZED_ARMS = ("paceline", "openvino", "llamacpp")  # those with weight-only formats on a CPU
PREFILLS = {"8x64": (8, 64), "1x512": (1, 512)}  # prompts x tokens, model A


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Counts of one form of the benchmark."""

    name: str
    num_rounds: int
    num_steps: int  # timed steps of a decode measurement
    num_starts: int  # of the server, for the cold start
    num_serving_rounds: int
    num_clients: int
    num_output_tokens: int  # of a served request to model A
    num_requests: int
    num_windows: int  # of held-out text, for perplexity
    window_tokens: int
    repeat_until_s: float | None = None  # since the start: after that every cell is measured once only


FULL = Protocol(
    name="full",
    num_rounds=7,
    num_steps=36,
    num_starts=5,
    num_serving_rounds=5,
    num_clients=32,
    num_output_tokens=128,
    num_requests=64,
    num_windows=96,
    window_tokens=512,
)
QUICK = Protocol(
    name="quick",
    num_rounds=2,
    num_steps=12,
    num_starts=3,
    num_serving_rounds=2,
    num_clients=32,
    num_output_tokens=48,
    num_requests=32,
    num_windows=24,
    window_tokens=512,
    repeat_until_s=240.0,
)


def model_and_weights(group: str) -> tuple[str, str]:
    """
    >>> model_and_weights("A"), model_and_weights("A-int8")
    (('A', 'bf16'), ('A', 'int8'))
    """
    model, _, weights = group.partition("-")
    return model, weights or "bf16"


def arms_of(group: str) -> tuple[str, ...]:
    """The arms that can run a group.

    >>> arms_of("A-int4")
    ('paceline', 'openvino', 'llamacpp', 'paceline_runner')
    """
    return (*(ARMS if model_and_weights(group)[1] == "bf16" else QUANTIZED_ARMS), RUNNER)
