import copy
import pickle

import pytest
from hostile_texts import HOSTILE, acts_on_a_terminal

from covtool.errors import LONGEST_HINT, LONGEST_LINE, CovtoolError, DataError, UnknownVariantError


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_errors_can_be_shown_whatever_is_put_into_them(text):
    problem = DataError(text, reason=text, hint=f"{text}\nsecond line")
    for part in (problem.message, problem.reason):
        assert "\n" not in part
    for part in (problem.message, problem.reason, problem.hint, str(problem)):
        assert not acts_on_a_terminal(part)
        assert len(part) < 10 * (2 * LONGEST_LINE + LONGEST_HINT) + 100


def test_hints_keep_their_lines():
    assert CovtoolError("a", hint="b\nc").hint == "b\nc"


def test_what_was_escaped_stays_as_it_is():
    problem = DataError("a\x1bb" + "c" * 5000, reason="r\nr", hint="h\x07")
    again = [problem.with_hint(problem.hint), copy.copy(problem)]
    again.append(pickle.loads(pickle.dumps(problem)))
    assert {(p.message, p.reason, p.hint) for p in again} == {
        (problem.message, problem.reason, problem.hint)
    }


def test_other_errors_are_built_of_printable_parts_too():
    problem = UnknownVariantError("head", "is\x1b[2Jqrt", ("isqrt", "mpn\x1b"))
    assert "\x1b" not in str(problem)
    assert "Did you mean" in problem.message


def test_a_reason_that_is_an_exception_is_taken_for_its_text():
    assert CovtoolError("a", reason=ValueError("why")).reason == "why"
