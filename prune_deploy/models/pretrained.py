"""Files of pretrained weights, from the cache or the network.

The network is tried once, for a short time, before a download begins.
huggingface_hub alone asks a dead network for minutes: each possible file is tried six times, with growing pauses.
"""

from __future__ import annotations

import contextlib
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlsplit

import torch
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError

from prune_deploy.errors import CannotRunError, InputError, first_line

ANSWER_LIMIT_S = 3.0
"""Seconds within which a server must answer for the first time. The download that follows is not limited."""

_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of weights on the hub, in the order in which timm looks for them."""


T = TypeVar("T")


def pretrained_file(name: str, config: Any) -> Path | None:
    """Return the file of a model's pretrained weights.

    `config` is timm's configuration of them. A file in the cache is used without asking the network, any other is fetched. It is None
    for weights that are on no hub, which timm fetches by itself.

    Raises:
        InputError: timm has no weights of this model.
        CannotRunError: they are not in the cache, and the network does not answer or may not be used.
    """
    repository, url = getattr(config, "hf_hub_id", None), getattr(config, "url", None)
    if not (repository or url):
        raise InputError(
            f"timm has no pretrained weights of {name}", fix="use `weights=PATH` or `weights='random'`", field="weights"
        )
    if not repository:
        _require_answer(name, str(url))
        return None
    named = getattr(config, "hf_hub_filename", None)
    files = (named,) if named else _FILES
    if (cached := _cached(repository, files)) is not None:
        return cached
    if constants.HF_HUB_OFFLINE:
        raise _unavailable(
            name, "they are not in the cache, and HF_HUB_OFFLINE is set", repository, "unset HF_HUB_OFFLINE to fetch them"
        )
    try:
        file = _within_limit(lambda: _offered(repository, files))
        return Path(hf_hub_download(repository, file))
    except Exception as error:  # the errors of two HTTP libraries and of the file system have no base in common
        raise _unavailable(name, f"{constants.ENDPOINT}: {first_line(error, 120)}", repository) from error


def _cached(repository: str, files: tuple[str, ...]) -> Path | None:
    # `hf_hub_download(local_files_only=True)` would ask the network, for what its request headers would say.
    found = (try_to_load_from_cache(repository, file) for file in files)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _offered(repository: str, files: tuple[str, ...]) -> str:
    """Return the first of `files` that the hub has, asked without retries."""
    for file in files[:-1]:
        try:
            get_hf_file_metadata(hf_hub_url(repository, file), timeout=ANSWER_LIMIT_S)
            return file
        except EntryNotFoundError:
            continue
    get_hf_file_metadata(hf_hub_url(repository, files[-1]), timeout=ANSWER_LIMIT_S)
    return files[-1]


def _require_answer(name: str, url: str) -> None:
    """Raise where a file's server does not answer.

    It is not asked for what torch.hub has already.
    """
    if (Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name).is_file():
        return

    def ask() -> None:
        with contextlib.suppress(HTTPError):  # it answers, and timm's own request tells more
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=ANSWER_LIMIT_S).close()

    try:
        _within_limit(ask)
    except OSError as error:
        raise _unavailable(name, f"{url}: {first_line(error, 120)}", "") from error


def _within_limit(ask: Callable[[], T]) -> T:
    """Return what `ask` returns, or raise what it raises.

    It runs in a thread, because no HTTP library limits the time that a name's look-up takes.

    Raises:
        TimeoutError: it did not return in time.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:  # noqa: BLE001 - raised below, in the caller's thread
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return answer.result(ANSWER_LIMIT_S + 0.5)
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {ANSWER_LIMIT_S:g} s") from error


def _unavailable(name: str, reason: str, repository: str, first: str = "check the connection") -> CannotRunError:
    """Return the error with every way to get on without the network."""
    if repository:
        cache = f"{constants.HF_HUB_CACHE} (HF_HUB_CACHE moves it)"
    else:
        cache = f"{Path(torch.hub.get_dir()) / 'checkpoints'} (TORCH_HOME moves it)"
    return CannotRunError(
        f"pretrained weights of {name} cannot be fetched: {reason}",
        fix=f"{first}, or use `weights=PATH` with a file from elsewhere, or copy {repository or 'the file'} into the cache {cache}; "
        "what is there needs no network, with or without HF_HUB_OFFLINE=1; or use `weights='random'`",
        field="weights",
    )
