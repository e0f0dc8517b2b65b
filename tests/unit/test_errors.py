"""The tree of errors: how each is reported at every door."""

from __future__ import annotations

import pickle
import re

import pytest

from bento_rollout import errors
from bento_rollout.errors import Conflict, RolloutError, UnknownVariant, Veto

CLASSES = [getattr(errors, name) for name in errors.__all__]
ROW = re.compile(r"^    ([│├└─ ]*)(\w+)(?: +exit (\d+))?(?: +HTTP (\d+))?", re.MULTILINE)


def drawn() -> list[tuple[str, int, str | None, str | None]]:
    """The tree in the docstring: name, depth, exit code and status of each error."""
    assert errors.__doc__ is not None
    tree = errors.__doc__.split("::", 1)[1]
    return [(name, len(bars) // 4, code, status) for bars, name, code, status in ROW.findall(tree)]


def test_the_drawn_tree_is_the_tree() -> None:
    """Every error stands in the docstring's tree, under its base class, with its exit code and status."""
    rows = drawn()
    assert [name for name, *_ in rows if name != "Veto"] == [
        name for name, *_ in rows if issubclass(getattr(errors, name), RolloutError)
    ]
    assert sorted(name for name, *_ in rows) == sorted(errors.__all__)
    above: list[str] = []
    for name, depth, code, status in rows:
        error = getattr(errors, name)
        del above[depth:]
        assert not above or error.__bases__[0] is getattr(errors, above[-1]), name
        assert not code or error.exit_code == int(code), name
        assert not status or error.http_status == int(status), name
        above.append(name)


@pytest.mark.parametrize(
    "error", [e for e in CLASSES if issubclass(e, RolloutError)], ids=lambda e: e.__name__
)
def test_exit_codes_and_statuses_go_together(error: type[RolloutError]) -> None:
    """Whatever the error, the command line and the HTTP door say the same of it."""
    said = (error.exit_code, error.http_status)
    assert said in {
        (1, 409),
        (2, 400),
        (3, 404),
        (4, 503),
        (7, 409),
        (10, 409),
        (11, 409),
        (12, 409),
        (13, 409),
    }


def test_errors_carry_data() -> None:
    """A conflict knows the current revision; an unknown variant knows those that there are."""
    assert Conflict("moved on", 7).current == 7
    unknown = UnknownVariant("x", ("a", "b"))
    assert (unknown.name, unknown.known) == ("x", ("a", "b"))
    assert str(unknown) == "no variant is called 'x'; this rollout has: a, b"
    assert str(UnknownVariant("x", ())).endswith("has: none")


@pytest.mark.parametrize(
    "error", [Conflict("moved on", 7), UnknownVariant("x", ("a",)), Veto("no")], ids=repr
)
def test_errors_cross_processes(error: Exception) -> None:
    """Errors can be sent to another process and say the same there."""
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), vars(copy)) == (str(error), vars(error))


def test_plain_handlers_catch_them() -> None:
    """Who catches ValueError, TypeError or LookupError catches ours of that kind."""
    assert issubclass(errors.InvalidValue, ValueError)
    assert issubclass(errors.Incompatible, TypeError)
    assert issubclass(errors.NotFound, LookupError)
    assert not issubclass(Veto, RolloutError)
