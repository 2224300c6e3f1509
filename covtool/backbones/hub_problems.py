"""Words for what the hub answers, and for a hub that does not answer."""

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from covtool.errors import first_line
from covtool.printable import printable

LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN to a token that may {}."
OFFLINE = "HF_HUB_OFFLINE is set: the hub is not asked for anything."

# Those of the HTTP client, whichever it is: failed connections among them.
SILENCE = (
    *(base for base in HfHubHTTPError.__bases__ if base is not OSError),
    *(ConnectionError, TimeoutError),
)
"""Errors where the hub gave no answer, among errors that have one: see `status_of`."""

PROBLEMS = (
    *SILENCE,
    *(OSError, ValueError, RuntimeError, EntryNotFoundError, RevisionNotFoundError),
)
"""Errors that a call of huggingface_hub may end with."""

_BY_STATUS = {
    401: "The hub does not accept the token, or there is none.",
    403: "The token may not do this there.",
    404: "The hub has no such thing, or shows it to others only.",
    409: "It conflicts with what is there.",
    412: "It was changed by another in the meantime.",
    413: "It is larger than the hub takes.",
    429: "The hub was asked too often; it wants a pause.",
}


def reason_on_hub(problem: BaseException) -> str:
    """Return what the hub's answer means, in a sentence.

    Args:
        problem: One of `PROBLEMS`.
    """
    # The client hides what failed behind its search of the cache, or behind the file's name.
    while isinstance(problem, RuntimeError | LocalEntryNotFoundError) and problem.__cause__:
        problem = problem.__cause__
    if is_offline(problem):
        return OFFLINE
    kinds = (
        (GatedRepoError, "The repository is gated: its owner lets in who has asked for it."),
        (RevisionNotFoundError, "The repository has no such revision."),
        (RepositoryNotFoundError, "There is no such repository, or the token may not see it."),
    )
    known = next((words for kind, words in kinds if isinstance(problem, kind)), None)
    status = status_of(problem)
    known = known or _BY_STATUS.get(status) or (_of_server(problem) if status else None)
    if known is not None:
        return known
    # Not every failure is the hub's: the disk of the cache may be full.
    silence = "The hub does not answer: " if isinstance(problem, SILENCE) else ""
    return f"{silence}{first_line(problem)}."


def status_of(problem: BaseException) -> int | None:
    """Return the number of the hub's answer; None where it gave none."""
    answer = getattr(problem, "response", None)
    return getattr(answer, "status_code", None)


def is_offline(problem: BaseException) -> bool:
    """Return whether a setting keeps the client from using the network."""
    return isinstance(problem, OfflineModeIsEnabled)


def _of_server(problem: BaseException) -> str:
    status = status_of(problem)
    whose = "has a fault of its own" if status >= 500 else "refuses"
    words = getattr(problem, "server_message", None) or f"it answers with status {status}"
    return f"The hub {whose}: {printable(str(words)).rstrip('.')}."
