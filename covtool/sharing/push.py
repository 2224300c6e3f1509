"""`covtool push`: a covtool file, its card and its configuration become a repository of the hub."""

import re
from dataclasses import dataclass
from pathlib import Path

from covtool.checkpoints.hub import CARD, CONFIG, WEIGHTS
from covtool.checkpoints.opened import OpenedModel
from covtool.checkpoints.opening import open_model
from covtool.errors import ArgumentError, CheckpointError
from covtool.printable import printable
from covtool.sharing.card import card_text
from covtool.sharing.card_sections import Usage
from covtool.sharing.hub_config import hub_config
from covtool.sharing.plain_timm import why_timm_does_not_open
from covtool.sharing.repository import Content, Repository

# As huggingface_hub checks them, and with an owner: a repository of no one is found by luck.
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_LONGEST_REPO = 96
_REVISION = re.compile(r"[\w][\w./-]{0,199}", re.ASCII)
_LONGEST_MESSAGE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRequest:
    """A covtool file, and the repository that it goes to.

    Attributes:
        source: The file, or a run's folder for its best one.
        repo: Repository, ``ORG/NAME``; made where it does not exist.
        private: Whether a new repository is private.
        revision: Branch to write to; None for the main one. A new one begins with that.
        message: Message of the commit; None for one that names the file.
        dry_run: Whether only to return what would be uploaded, without asking the hub.
        overwrite: Whether files of the repository may be replaced.
    """

    source: str
    repo: str
    private: bool = False
    revision: str | None = None
    message: str | None = None
    dry_run: bool = False
    overwrite: bool = False

    def validate(self) -> None:
        """Refuse names that the hub would refuse.

        Raises:
            ArgumentError: The repository or the revision cannot be called so.
        """
        repo = self.repo
        odd = "--" in repo or ".." in repo or repo.endswith((".git", "-", "."))
        if len(repo) > _LONGEST_REPO or odd or not _REPO.fullmatch(repo):
            raise ArgumentError(
                f"{printable(repo)!r} is not the name of a repository.",
                reason="It is ORG/NAME, of letters, digits, '-', '_' and '.', 96 in all at most.",
                hint="ORG is your name on the hub, or that of an organization that you are in.",
            )
        if self.revision is not None and not _REVISION.fullmatch(self.revision):
            raise ArgumentError(f"{printable(self.revision)!r} is not the name of a branch.")
        if self.message is not None and not 0 < len(self.message.strip()) <= _LONGEST_MESSAGE:
            raise ArgumentError(
                "A commit's message is of 1 to 1,000 characters.", hint="Leave --message out."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedFile:
    """A file of the upload.

    Attributes:
        name: Name in the repository.
        bytes: Size.
    """

    name: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """What was uploaded, or would be.

    Attributes:
        repo: The repository.
        revision: Branch that was written to.
        files: Files of the upload.
        opens_with: Libraries that open it by its name on the hub.
        file: The covtool file here.
        url: Address of the commit; None of a dry run.
        created: Whether the repository is new.
        unchanged: Whether all of it was there already, so that nothing was uploaded.
        notes: Choices, and what else is to be known, in sentences.
    """

    repo: str
    revision: str
    files: tuple[PushedFile, ...]
    opens_with: tuple[str, ...]
    file: Path
    url: str | None
    created: bool = False
    unchanged: bool = False
    notes: tuple[str, ...] = ()


def push(request: PushRequest) -> PushResult:
    """Upload a covtool file with its card and its configuration.

    The file goes as it is. All files become one commit, or none does.

    Raises:
        ArgumentError: A name is none, or the hub may not be used; see `PushRequest.validate`.
        CheckpointError: The source is not a covtool file, or cannot be opened.
        OutputExistsError: The repository holds something else, and `overwrite` is False.
        HubError: The hub cannot be reached, or refuses.
    """
    request.validate()
    repository = Repository(repo=request.repo, revision=request.revision, private=request.private)
    if not request.dry_run:
        repository.require_network()
    opened = open_model(request.source)
    path = _own_path(opened, request.source)
    why_not = why_timm_does_not_open(opened.model, path)
    content = _content(opened, path, request.repo, with_timm=why_not is None)
    notes = list(opened.notes)
    if why_not is not None:
        notes.append(f"timm alone does not open it: {why_not}")
    if opened.recipe.provenance.untrained:
        notes.append("Its classifier is random: the card says so.")
    files = tuple(PushedFile(name=n, bytes=_size(c)) for n, c in content.items())
    made = {
        "repo": request.repo,
        "revision": repository.branch,
        "files": files,
        "opens_with": ("covtool", "timm") if why_not is None else ("covtool",),
        "file": path,
    }
    if request.dry_run:
        return PushResult(**made, url=None, notes=tuple(notes))
    message = request.message or f"{path.name}, with its card"
    done = repository.upload(content, message=message, overwrite=request.overwrite)
    return PushResult(
        **made,
        url=done.url,
        created=done.created,
        unchanged=done.unchanged,
        notes=(*notes, *done.notes),
    )


def _own_path(opened: OpenedModel, source: str) -> Path:
    """Return the covtool file that was opened.

    Raises:
        CheckpointError: It is none.
    """
    checkpoint = opened.checkpoint
    if checkpoint is not None and checkpoint.recipe is not None:
        return checkpoint.path
    is_state = checkpoint is not None and checkpoint.saved is not None
    what = "the state of a run" if is_state else "not a covtool file"
    raise CheckpointError(
        f"{printable(source)} is {what}: only covtool files are shared.",
        reason="It holds no recipe, from which others could open it.",
        hint="Give the run's folder, which stands for its best model."
        if is_state
        else f"Convert it first: covtool convert {printable(source)} -o model.safetensors",
    )


def _content(opened: OpenedModel, path: Path, repo: str, *, with_timm: bool) -> Content:
    card = card_text(opened.recipe, Usage(repo=repo, with_timm=with_timm))
    return {
        WEIGHTS: path,
        CONFIG: hub_config(opened.recipe, with_timm=with_timm),
        CARD: card.encode(),
    }


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size
