"""Every bound of the server in one place, so that none is missing."""

from __future__ import annotations

from dataclasses import dataclass, fields

from paceline.errors import ConfigError
from paceline.llm.request import MAX_SAMPLES


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client may ask for. Bytes, counts and seconds; all must be positive.

    The waiting queue itself (requests and tokens) belongs to the engine, which answers "queue full".

    >>> Limits(max_samples=1000)
    Traceback (most recent call last):
        ...
    paceline.errors.ConfigError: max_samples must be at most 128, got 1000
    """

    header_bytes: int = 32 * 1024  # request line and headers together
    header_timeout_s: float = 10.0  # from the first byte of a connection or request to the end of its headers
    body_bytes: int = 4 * 1024 * 1024
    body_timeout_s: float = 30.0
    max_chunks: int = 16_384  # pieces of a chunked body
    keep_alive_s: float = 30.0  # an idle connection is closed after this
    max_connections: int = 1024
    request_timeout_s: float = 600.0  # also the most that a request's own ``timeout`` may ask for
    write_stall_s: float = 30.0  # a stream whose client takes nothing for so long is cut
    drain_timeout_s: float = 30.0  # streams may finish for so long after SIGTERM
    max_samples: int = 16  # ``n``
    max_prompts: int = 128  # prompts in one call
    max_sequences: int = 128  # prompts times ``n``
    max_messages: int = 4096
    max_tools: int = 128
    free_form_bytes: int = 64 * 1024  # tools, schemas and template arguments, each as sent
    max_depth: int = 64  # of a schema, a tool or a template argument
    checked_bytes: int = 256 * 1024  # bodies up to this size are searched for repeated keys
    inline_chars: int = 8192  # longer texts are tokenised beside the event loop
    text_threads: int = 2
    tensor_bytes: int = 64 * 1024 * 1024  # a body with tensors, its JSON and what follows it together
    held_bytes: int = 512 * 1024 * 1024  # such bodies of all open requests together; more are told to come back
    max_id_chars: int = 256  # the id that a request with tensors gives itself
    inline_bytes: int = 64 * 1024  # tensors that take more as JSON are read and written beside the event loop
    tensor_threads: int = 2

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ConfigError(f"{field.name} must be > 0, got {getattr(self, field.name)}")
        if self.max_samples > MAX_SAMPLES:
            raise ConfigError(f"max_samples must be at most {MAX_SAMPLES}, got {self.max_samples}")
