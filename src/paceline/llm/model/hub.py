"""From what a user names to a folder on disk: the folder itself, or a Hugging Face id that is downloaded once."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path

from paceline.errors import ModelError

MAX_NAME_CHARS = 4096
FILES = (  # nothing that could run code is ever fetched
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "*.safetensors",
    "*.safetensors.index.json",
)

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,95}"
_ID = re.compile(rf"(?:{_PART}/)?{_PART}")
_FOLDER_HINT = "give a folder that holds the model (config.json, model.safetensors, tokenizer.json)"


def resolve(model: str, *, revision: str | None = None, report: Callable[[str], None] | None = None) -> Path:
    """The folder of ``model``: itself where it is one, else the snapshot of that hub id, downloaded when needed.

    An interrupted download resumes, and with ``HF_HUB_OFFLINE=1`` only the cache is asked. On a terminal a bar shows
    the progress, elsewhere ``report`` is given a line at the start and at the end. Raises ``ModelError`` for a name that is
    neither, for a hub that cannot be reached and for a model that it does not give out.
    """
    if not model.strip() or len(model) > MAX_NAME_CHARS or "\0" in model:
        raise ModelError(f"{model[:60]!r} is neither a folder nor a hub id; {_FOLDER_HINT}")
    folder = Path(model).expanduser()
    if _is_folder(folder):
        return folder
    if not _ID.fullmatch(model) or "--" in model:
        raise ModelError(f"{model[:200]!r}: no such folder, and not a hub id like 'organisation/model'; {_FOLDER_HINT}")
    return _download(model, revision, report or logging.getLogger(__name__).info)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a part of the name is too long for the file system
        return False


def _download(model: str, revision: str | None, report: Callable[[str], None]) -> Path:
    import huggingface_hub
    from huggingface_hub import errors
    from huggingface_hub.utils.tqdm import disable_progress_bars

    bars = sys.stderr.isatty()
    if not bars:
        disable_progress_bars()
        report(f"{model}: looking for it in the cache and on the hub")
    try:
        path = huggingface_hub.snapshot_download(
            model, revision=revision, allow_patterns=list(FILES), ignore_patterns=["*/*"]
        )
    except (errors.GatedRepoError, errors.RepositoryNotFoundError):
        raise ModelError(
            f"{model}: the hub does not give it out; check the spelling, log in with `hf auth login`, or {_FOLDER_HINT}"
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelError(f"{model}: the hub has no revision {revision!r}") from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        raise ModelError(
            f"{model}: not in the cache, and the hub cannot be reached (no network, or HF_HUB_OFFLINE is set); "
            f"connect once, or {_FOLDER_HINT}"
        ) from None
    except Exception as error:  # the hub's client passes on whatever its transport raises
        raise ModelError(
            f"{model}: the download failed ({type(error).__name__}); run the same command again to resume it, or {_FOLDER_HINT}"
        ) from error
    if not bars:
        report(f"{model}: ready in {path}")
    return Path(path)
