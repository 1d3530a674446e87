"""Logs that a machine can read and a client cannot forge: escaped, cut short, without prompts."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, Literal, TextIO, final

import msgspec

from paceline.server.exchange import Exchange

LogFormat = Literal["text", "json"]
_MAX_CHARS = 300


def escape(text: str) -> str:
    r"""``text`` on one line, control characters spelled out, at most 300 characters.

    >>> escape("a\r\nb\x1b[2J")
    'a\\r\\nb\\x1b[2J'
    """
    plain = text if len(text) <= _MAX_CHARS else text[:_MAX_CHARS] + "..."
    return plain if plain.isprintable() else plain.encode("unicode_escape").decode()


@final
class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _stamp(record.created),
            "level": record.levelname.lower(),
            "message": escape(record.getMessage()),
            **record.__dict__.get("fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


@final
class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in record.__dict__.get("fields", {}).items())
        line = f"{_stamp(record.created)} {record.levelname.lower():7} {escape(record.getMessage())}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"


def set_up_logs(log_format: LogFormat, level: str, stream: TextIO | None = None) -> None:
    """Sends the whole process's logs to ``stream`` (standard error) in ``log_format``."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


@final
class AccessLog:
    """One line a request: what was asked for and how it ended, never what was said."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def write(self, exchange: Exchange) -> None:
        self._logger.info("request", extra={"fields": self._fields(exchange)})

    def error(self, exchange: Exchange, error: Exception) -> None:
        self._logger.error("request failed", exc_info=error, extra={"fields": self._fields(exchange)})

    def _fields(self, exchange: Exchange) -> dict[str, Any]:
        return {
            "request_id": exchange.request_id,
            "method": escape(exchange.method),
            "path": escape(exchange.path),
            "status": exchange.status,
            "seconds": round(time.monotonic() - exchange.began, 4),
            **exchange.notes,
        }
