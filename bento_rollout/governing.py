"""What a file that governs makes of a rollout, and what one host sets against it; pure.

With ``authority: spec`` the file is the whole state: every replica computes the same one from the same
content, and nobody has to keep it. So the split is computed from nothing but the weights, too (`placed`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .applying import seed
from .assignment import Range
from .code_part import code_fields
from .revisions import digest_in, of_file
from .settling import Settled
from .spec import RolloutSpec
from .state import Commit, RolloutState
from .values import FULL, Strict

__all__ = [
    "OVERRIDES",
    "Mark",
    "Override",
    "code_differs",
    "governed_state",
    "overridden",
    "overriding",
    "placed",
]

OVERRIDES = ("pause", "rollback", "resume")
"""The verbs that work against a file, on one host; the last one ends what the others began."""


class Mark(Strict):
    """Who set something against a file, why and when.

    Attributes:
        author, reason: as of every change.
        time: seconds since 1970.
    """

    author: str
    reason: str = ""
    time: float


class Override(Strict):
    """What a host holds against one content of its file.

    Attributes:
        digest: the content's; against another content nothing of this holds.
        pause: who paused, if anybody did.
        rollback: who took all weights away, if anybody did.
        superseded: whether somebody here has gone on to another content since: then it ends with this one.
    """

    digest: str
    pause: Mark | None = None
    rollback: Mark | None = None
    superseded: bool = False

    @property
    def newest(self) -> tuple[str, Mark]:
        """The newest of its verbs, and whose it is."""
        marks = {name: mark for name in ("pause", "rollback") if (mark := getattr(self, name)) is not None}
        return max(marks.items(), key=lambda item: item[1].time)


def governed_state(
    name: str, champion: str, spec: RolloutSpec, digests: Mapping[str, str], digest: str
) -> RolloutState:
    """Return the state that a file's content asks for; it names every digest of the code that there is.

    Args:
        name: the rollout.
        champion: the decorated service's own variant, champion unless the file names another.
        spec: what the file says.
        digests: what each variant is, the decorated one first.
        digest: of the file's content.

    Raises:
        InvalidValue: it gives something to a variant that the service does not have.
    """
    revision = of_file(digest)
    state = seed(name, spec.champion or champion, spec, digests, revision)
    ranges = placed(state.weights, tuple(digests))
    return state.model_copy(update={"ranges": ranges}).numbered(revision)


def placed(weights: Mapping[str, int], order: Sequence[str]) -> tuple[Range, ...]:
    """Return the ranges of candidates whose places depend on nothing that was before.

    The first in order grows from the bottom and the second from the top: of two candidates who grows keeps
    all its keys, and who stays keeps exactly its own. Further ones follow the first.

    >>> placed({"b": 5000, "c": 2000}, ["a", "b", "c"])
    ((0, 5000, 'b'), (98000, 100000, 'c'))
    """
    candidates = [name for name in order if name in weights]
    found: list[Range] = []
    at = 0
    for name in candidates[:1] + candidates[2:]:
        found.append((at, at + weights[name], name))
        at += weights[name]
    found += [(FULL - weights[name], FULL, name) for name in candidates[1:2]]
    return tuple(one for one in found if one[0] < one[1])


def overriding(before: Override | None, commit: Commit, action: str, mark: Mark) -> Override | None:
    """Return what a host holds against its file after a verb; the same when there is nothing to do.

    Args:
        before: what it holds now.
        commit: what the file says.
        action: one of `OVERRIDES`.
        mark: who asks.
    """
    if action == "resume":
        return None
    held = before or Override(digest=digest_in(commit.revision))
    if getattr(held, action) is not None or (action == "rollback" and not any(commit.state.weights.values())):
        return before
    return held.model_copy(update={action: mark})


def overridden(commit: Commit, override: Override | None) -> Commit:
    """Return what is served: what the file says, less what this host holds against that very content."""
    state = commit.state
    if override is None or override.digest != digest_in(commit.revision):
        return commit
    rolled, paused = override.rollback is not None, override.pause is not None
    if not (rolled or paused):
        return commit
    changes: dict[str, Any] = {"weights": {}, "ranges": (), "rolled_back": True} if rolled else {}
    revision = of_file(override.digest, rolled_back=rolled, paused=paused)
    settled = (Settled(revision=revision, champion=state.champion),)
    changes |= {"paused": paused, "revision": revision, "moved": revision, "settled": settled}
    action, mark = override.newest
    return Commit(
        state=state.model_copy(update=changes),
        parent=commit.revision,
        time=mark.time,
        author=mark.author,
        action=action,
        reason=mark.reason,
    )


def code_differs(running: RolloutSpec, wanted: RolloutSpec) -> list[str]:
    """Return the fields of a file that are code and not what a service runs by: they wait for its restart."""
    before, after = code_fields(running), code_fields(wanted)
    return [name for name in before if before[name] != after[name]]
