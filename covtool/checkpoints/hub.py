"""covtool's own files on the hub: ``hf-hub:ORG/NAME``, with ``@revision`` behind it."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from covtool.backbones.hub_problems import PROBLEMS, SILENCE, reason_on_hub, status_of
from covtool.backbones.model_size import require_room
from covtool.backbones.names import HUB_PREFIX
from covtool.checkpoints import model_file
from covtool.documents import parse_json
from covtool.errors import CheckpointError
from covtool.printable import printable
from covtool.regular_files import read_text

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
MARK = "covtool"
"""Key of a ``config.json`` that says that the weights beside it are a covtool file."""

LARGEST_CONFIG = 64 * 2**20
"""Bytes of a configuration that is looked at; names of ten million classes are not."""

_COMMIT_SHOWN = 12
_OTHERWISE = "Without a network: download the file elsewhere and pass its path."


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A covtool file of the hub, in the local cache.

    Attributes:
        path: The file.
        repo: Its repository, ``ORG/NAME``.
        commit: Commit that it is of.
    """

    path: Path
    repo: str
    commit: str

    @property
    def note(self) -> str:
        """Sentence that says where the file is from."""
        return f"The file is {self.repo}'s on the hub, of commit {self.commit[:_COMMIT_SHOWN]}."


def split_name(name: str) -> tuple[str, str | None]:
    """Return the repository and the revision of a name.

    Raises:
        CheckpointError: It has several revisions, or one without a name.

    Example:
        >>> split_name("hf-hub:me/birds@v1")
        ('me/birds', 'v1')
    """
    repo, mark, revision = name.removeprefix(HUB_PREFIX).partition("@")
    if not repo or (mark and not revision) or "@" in revision:
        raise CheckpointError(
            f"{printable(name)} names no repository of the hub.",
            hint=f"Write {HUB_PREFIX}ORG/NAME, or {HUB_PREFIX}ORG/NAME@REVISION.",
        )
    return repo, revision or None


def own_file(name: str) -> HubFile | None:
    """Return the covtool file in a repository of the hub, fetched if it is not in the cache.

    Args:
        name: ``hf-hub:ORG/NAME``, with ``@revision`` behind it for another than the main one.

    Returns:
        The file; None where the repository is not covtool's, or does not let it be seen: timm,
        whose repositories the others are, then says why.

    Raises:
        CheckpointError: The hub does not answer, and the cache has nothing; or the repository is
            covtool's, and its file cannot be fetched, is larger than the limit of
            `covtool.model_limit`, or is no covtool file.
    """
    repo, revision = split_name(name)
    try:
        config = read_text(_fetched(repo, CONFIG, revision), at_most=LARGEST_CONFIG)
    except LocalEntryNotFoundError as problem:  # timm would look for the same file, slowly
        raise CheckpointError(
            f"The weights of {printable(name)} cannot be fetched, and are not in the cache.",
            reason=reason_on_hub(problem),
            hint=_OTHERWISE,
        ) from problem
    except EntryNotFoundError:  # a file that was uploaded by hand, perhaps
        with suppress(*PROBLEMS):
            path = _fetched(repo, WEIGHTS, revision)
            return _found(path, repo) if model_file.is_covtool_file(path) else None
        return None
    except PROBLEMS:
        return None
    if not _is_marked(config):
        return None
    try:
        _require_room(name, repo, revision)
        path = _fetched(repo, WEIGHTS, revision)
    except CheckpointError:
        raise
    except PROBLEMS as problem:
        raise CheckpointError(
            f"{WEIGHTS} of {printable(name)} cannot be fetched.",
            reason=reason_on_hub(problem),
            hint=_OTHERWISE,
        ) from problem
    if not model_file.is_covtool_file(path):
        raise CheckpointError(
            f"{WEIGHTS} of {printable(name)} is not a covtool file.",
            reason=f"{CONFIG} beside it says that it is one; there is no recipe in it.",
            hint="Give another revision, or upload it anew: covtool push.",
        )
    return _found(path, repo)


def _fetched(repo: str, file: str, revision: str | None) -> Path:
    fetch = partial(hf_hub_download, repo, file, revision=revision, library_name="covtool")
    try:
        get_hf_file_metadata(hf_hub_url(repo, file, revision=revision))
    except PROBLEMS as problem:
        if status_of(problem) is None and isinstance(problem, SILENCE):
            # Once is enough: the client would ask again for half a minute, and say so each time.
            return _in_cache(fetch, problem)
    return Path(fetch())


def _in_cache(fetch: Callable[..., str], silence: Exception) -> Path:
    try:
        return Path(fetch(local_files_only=True))
    except LocalEntryNotFoundError as problem:
        raise problem from silence


def _found(path: Path, repo: str) -> HubFile:
    # The cache keeps files in folders that are called as their commits.
    return HubFile(path=path, repo=repo, commit=path.parent.name)


def _is_marked(config: str) -> bool:
    try:
        content: Any = parse_json(config)
    except ValueError:
        return False
    return isinstance(content, dict) and MARK in content


def _require_room(name: str, repo: str, revision: str | None) -> None:
    """Refuse a file before it is fetched that is larger than a model may be."""
    size = None
    with suppress(*PROBLEMS):  # without a network the cache decides
        size = get_hf_file_metadata(hf_hub_url(repo, WEIGHTS, revision=revision)).size
    if size is not None:
        require_room(printable(name), size)
