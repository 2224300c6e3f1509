"""A repository of the hub as the place of an upload, through huggingface_hub's own client."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from covtool import __version__
from covtool.backbones.hub_problems import (
    LOG_IN,
    OFFLINE,
    PROBLEMS,
    is_offline,
    reason_on_hub,
    status_of,
)
from covtool.errors import (
    ArgumentError,
    CovtoolError,
    HubError,
    OutputExistsError,
    VerificationError,
)
from covtool.printable import first_few, printable

Content = Mapping[str, Path | bytes]
"""Files by their names in the repository: where they are, or what is in them."""

MAIN = "main"
_OF_THE_HUB = frozenset((".gitattributes",))  # which a new repository has already
_LOOK = "Look at the repository, then try again."
_AGAIN = "Look at the repository before you try again, and at HF_ENDPOINT where that is set."
_ONLINE = "Unset HF_HUB_OFFLINE, or look at what would be uploaded: --dry-run."


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """An upload that is done.

    Attributes:
        url: Address of the commit, or of the repository where there was nothing to do.
        created: Whether the repository is new.
        unchanged: Whether everything was there already.
        notes: Files that stay in the repository beside it, in sentences.
    """

    url: str
    created: bool = False
    unchanged: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository of models on the hub.

    Attributes:
        repo: Name, ``ORG/NAME``.
        revision: Branch to write to; None for the main one.
        private: Whether it is to be private, if it is new.
    """

    repo: str
    revision: str | None = None
    private: bool = False

    @property
    def branch(self) -> str:
        """Name of the branch."""
        return self.revision or MAIN

    def require_network(self) -> None:
        """Refuse to begin where the network is not to be used.

        Raises:
            ArgumentError: A setting says so.
        """
        if constants.HF_HUB_OFFLINE:
            raise ArgumentError(
                f"Nothing can be uploaded to {self.repo}.", reason=OFFLINE, hint=_ONLINE
            )

    def upload(self, content: Content, *, message: str, overwrite: bool) -> Uploaded:
        """Upload files in one commit; the repository and the branch are made if they are missing.

        Raises:
            OutputExistsError: Other content is there, and `overwrite` is False.
            ArgumentError: It is public, and was to be private.
            HubError: The hub cannot be reached, or refuses.
            VerificationError: The hub left something out.
        """
        api = HfApi(library_name="covtool", library_version=__version__)
        with self._asking():
            before, has_branch = self._content_now(api)
            created = before is None
            if created:
                api.create_repo(self.repo, private=self.private)
                before, has_branch = self._content_now(api)
            elif self.private and before.private is False:
                raise _public(self.repo)
            there = _files_in(before)
            if has_branch and _same(there, content):
                return Uploaded(url=f"{api.endpoint}/{self.repo}", created=created, unchanged=True)
            if there and has_branch and not overwrite:
                raise _taken(self.repo, there)
            if not has_branch:
                # Nothing is lost by it: what the main branch holds stays there.
                api.create_branch(self.repo, branch=self.branch)
            done = api.create_commit(
                self.repo,
                [
                    CommitOperationAdd(path_in_repo=name, path_or_fileobj=_given(what))
                    for name, what in content.items()
                ],
                commit_message=message,
                revision=self.branch,
                # So that what another uploads meanwhile is not lost.
                parent_commit=before.sha,
            )
        notes = [*_left(there, content), *self._not_checked(api, done.oid, content)]
        return Uploaded(url=str(done.commit_url), created=created, notes=tuple(notes))

    def _not_checked(self, api: HfApi, commit: str, content: Content) -> Iterator[str]:
        """Compare what arrived; yield a sentence where the hub does not say what did.

        Raises:
            VerificationError: Something is missing, or is another.
        """
        try:
            after = api.repo_info(self.repo, revision=commit, files_metadata=True)
        except PROBLEMS as problem:
            yield f"It is uploaded, and could not be compared: {reason_on_hub(problem)}"
            return
        _require_arrived(self.repo, _files_in(after), content)

    def _content_now(self, api: HfApi) -> tuple[Any | None, bool]:
        """Return what the hub knows of the branch, and whether it is there.

        Without the branch it is the main one, with which a new one begins; None without the
        repository.
        """
        try:
            return api.repo_info(self.repo, revision=self.revision, files_metadata=True), True
        except RevisionNotFoundError:
            return api.repo_info(self.repo, files_metadata=True), False
        except RepositoryNotFoundError as problem:
            # So the hub answers, too, to those whom it does not know.
            if status_of(problem) in (401, 404):
                return None, False
            raise

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn the client's errors into one that says what to do."""
        try:
            yield
        except CovtoolError:
            raise
        except PROBLEMS as problem:
            # Not "nothing was uploaded": of a lost answer that is not known.
            message = f"The upload to {self.repo} failed."
            if is_offline(problem):
                raise ArgumentError(message, reason=OFFLINE, hint=_ONLINE) from problem
            owner = self.repo.partition("/")[0]
            hints = {
                401: LOG_IN.format("write"),
                403: LOG_IN.format(f"write to {owner}"),
                409: _LOOK,
                412: _LOOK,
            }
            raise HubError(
                message,
                reason=reason_on_hub(problem),
                hint=hints.get(status_of(problem), _AGAIN),
            ) from problem


def _left(there: Mapping[str, Any], content: Content) -> Iterator[str]:
    others = sorted(set(there) - set(content))
    if others:
        yield f"Left as they were in the repository: {_listed(others)}."


def _files_in(info: Any) -> dict[str, Any]:
    """Return the files of a repository by name, without the hub's own."""
    return {
        file.rfilename: file for file in info.siblings or () if file.rfilename not in _OF_THE_HUB
    }


def _same(there: Mapping[str, Any], content: Content) -> bool:
    """Return whether the repository holds all files as they are here, and no others."""
    return set(there) == set(content) and all(
        _is_same(there[name], what) for name, what in content.items()
    )


def _require_arrived(repo: str, there: Mapping[str, Any], content: Content) -> None:
    """Refuse an upload of which something is missing: a .gitignore there leaves files out."""
    for name, what in content.items():
        # A mirror of the hub may not give sizes: then the name is all there is to compare.
        if name not in there or not (there[name].size is None or _is_same(there[name], what)):
            raise VerificationError(
                f"{name} is not in {repo} as it was uploaded.",
                reason="The hub took the commit without it; a .gitignore there may name it.",
                hint="Look at the repository, or choose another name.",
            )


def _is_same(file: Any, what: Path | bytes) -> bool:
    size = len(what) if isinstance(what, bytes) else what.stat().st_size
    if file.size != size:
        return False
    if file.lfs is not None:
        return file.lfs.sha256 == _digest(what, "sha256")
    return file.blob_id == _digest(what, "sha1", head=f"blob {size}\0".encode())  # as git counts


def _digest(what: Path | bytes, algorithm: str, *, head: bytes = b"") -> str:
    digest = hashlib.new(algorithm, head, usedforsecurity=False)
    if isinstance(what, bytes):
        digest.update(what)
        return digest.hexdigest()
    with what.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _given(what: Path | bytes) -> str | bytes:
    return what if isinstance(what, bytes) else str(what)


def _listed(names: list[str]) -> str:
    return first_few(names, 5, show=printable)


def _taken(repo: str, there: Mapping[str, Any]) -> OutputExistsError:
    problem = OutputExistsError(Path(repo))
    problem.message = f"The repository {repo} holds other content."
    problem.reason = f"There is {_listed(sorted(there))}; it is replaced only on request."
    return problem.with_hint("Choose another name or --revision, or add --overwrite.")


def _public(repo: str) -> ArgumentError:
    return ArgumentError(
        f"The repository {repo} is public, and --private makes only a new one private.",
        hint="Make it private in its settings on the hub, or leave --private out.",
    )
