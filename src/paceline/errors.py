"""What can go wrong, as one tree.

PacelineError
├── ConfigError       an option is wrong; names it and the allowed values
├── ModelError        a model folder cannot be loaded; names the file and the reason
├── ResourceError     memory, a port or a file is not to be had; says need, have and the flag to change
├── RejectedError     a request that cannot be served; always answered, never only logged
│   ├── InvalidRequest    a field is wrong; ``param`` names it
│   ├── QueueFull         come back in ``retry_after_s``
│   ├── DeadlineInfeasible    its own deadline cannot be met, so nothing is tried
│   ├── Quarantined       the model failed again and again; come back in ``retry_after_s``
│   └── NotReady          loading, draining or restarting; come back in ``retry_after_s``
├── PlanError         a query the planner cannot handle
└── ExecutionError    a step failed on the device; carries the step and the cause
    ├── EngineDied        the engine's process ended with this request in flight
    └── DeadlineExceeded  the request's own time ran out
"""

from __future__ import annotations


class PacelineError(Exception):
    """Root of every error that this package raises on purpose.

    The command line ends with ``exit_code``.
    """

    exit_code = 1


class ConfigError(PacelineError):
    """An option is wrong; the text names it and the allowed values."""

    exit_code = 2


class ModelError(PacelineError):
    """A model folder cannot be loaded; the text names the file and the reason."""

    exit_code = 3


class ResourceError(PacelineError):
    """Memory, a port or a file is not to be had; the text says what to change."""

    exit_code = 4


class RejectedError(PacelineError):
    """A request that cannot be served."""


class InvalidRequest(RejectedError):
    """A field of a request is wrong.

    >>> InvalidRequest("top_p must be in (0, 1], got 2.0", param="top_p").param
    'top_p'
    """

    def __init__(self, message: str, *, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class QueueFull(RejectedError):
    """The waiting queue is at its limit."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineInfeasible(RejectedError):
    """The request could not be finished by its deadline, whatever is done."""


class Quarantined(RejectedError):
    """A model that has failed again and again is not run for a while."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReady(RejectedError):
    """The engine is loading, draining or restarting."""

    def __init__(self, message: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PlanError(PacelineError):
    """A query the planner cannot handle."""


class ExecutionError(PacelineError):
    """A step failed on the device."""


class EngineDied(ExecutionError):
    """The engine's process ended while this request was in flight."""


class DeadlineExceeded(ExecutionError):
    """The request's own time ran out before it was finished."""
