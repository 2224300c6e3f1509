"""What huggingface_hub raises, in words."""

import errno

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from covtool.backbones.hub_problems import OFFLINE, PROBLEMS, is_offline, reason_on_hub


def behind(cause, kind=LocalEntryNotFoundError):
    """An error that the client raised because of another."""
    problem = kind("not in the cache")
    problem.__cause__ = cause
    return problem


def test_offline_is_found_behind_the_search_of_the_cache():
    hidden = behind(OfflineModeIsEnabled("offline"))
    assert reason_on_hub(hidden) == OFFLINE
    assert reason_on_hub(behind(hidden, RuntimeError)) == OFFLINE
    assert is_offline(OfflineModeIsEnabled("offline"))


def test_a_full_disk_is_not_the_hubs_silence():
    full = OSError(errno.ENOSPC, "No space left on device")
    assert isinstance(full, PROBLEMS)
    assert reason_on_hub(full) == "No space left on device."


@pytest.mark.parametrize("problem", [ConnectionResetError("gone"), TimeoutError("slow")])
def test_a_connection_that_fails_is(problem):
    assert reason_on_hub(problem).startswith("The hub does not answer: ")


def test_control_characters_of_an_answer_do_not_reach_a_terminal():
    assert reason_on_hub(ValueError("a\x1b[2Jb")).isprintable()
