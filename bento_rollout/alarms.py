"""`Alarm`: drift that was found, what it says, what was done about it, and who has seen it; pure.

An alarm is *latched*: found once for each epoch of a test, it stays until a person acknowledges it or gives
the test another reference. It goes one way: new, acted, and acknowledged or rebased.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .errors import InvalidValue
from .values import shown

__all__ = [
    "ACTS",
    "DRIFT",
    "ENDS",
    "KINDS",
    "LARGE",
    "Alarm",
    "Told",
    "changed",
    "cut",
    "is_latched",
    "mark_in",
    "said_of",
]

DRIFT = "drift"
"""The author of what an alarm does by itself."""

KINDS = ("data", "concept", "schema")
"""What comes in has changed; what it means has changed; its form has changed."""

ACTS = ("log", "notify", "pause", "demote")
"""What an alarm may do, in this order; each once."""

ENDS = ("acknowledged", "rebased", "replaced")
"""How it ends: a person has seen it, or gave a new reference; or the service has another reference."""

LARGE = frozenset({"pause", "demote"})
"""Acts that need a change which is large, beside certain."""

SHOWN = 3
"""How many features a sentence names."""

LONGEST = 60
"""How many letters of a name it has."""

_MARK = "[alarm {}]"


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of one feature, or of a loss, when an alarm is looked at. Immutable.

    Attributes:
        name: of the feature; of a loss its variant.
        log_evidence: ln of its weighted evidence.
        direction: ``higher``, ``lower``, ``wider`` or ``narrower``.
        psi: how large the change is; None: it has no bins to say it by.
        since_row: the row of the epoch, from 1, with which it began, as estimated.
    """

    name: str
    log_evidence: float
    direction: str = ""
    psi: float | None = None
    since_row: int | None = None

    @property
    def plain(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "name": self.name,
            "log_evidence": self.log_evidence,
            "direction": self.direction,
            "psi": self.psi,
            "since_row": self.since_row,
        }


@dataclass(frozen=True, slots=True)
class Alarm:
    """Drift that was found. Immutable; what becomes of it is another one.

    Args:
        id: eight hexadecimal digits.
        test: whose it is: ``data``, ``schema``, or ``concept/VARIANT``.
        kind: one of `KINDS`.
        endpoint: whose calls are watched.
        epoch: of the test, from 1.
        at: when it was found, in seconds since 1970.
        row: how many rows of the epoch there were then.
        revision: the rollout's, then.
        words: what happened, in a sentence that holds no value of any row.
        features: what it is about, the strongest first.
        acting: of them those whose change is large; empty: nothing may be done by itself.
        acts: what was done, by act: when it was, or why it could not be done.
        end: how it ended; empty: it is latched.
        ended_at, ended_by, note: when, by whom, and what was said.

    >>> alarm = Alarm("0badcafe", "data", "data", "predict", 1, 0.0, 87, 4, "age is higher")
    >>> alarm.state, alarm.did("log", "done").acknowledged("ann", 9.0, "seen").state
    ('new', 'acknowledged')
    """

    id: str
    test: str
    kind: str
    endpoint: str
    epoch: int
    at: float
    row: int
    revision: int
    words: str
    features: tuple[Told, ...] = ()
    acting: tuple[str, ...] = ()
    acts: Mapping[str, str] = field(default_factory=dict)
    end: str = ""
    ended_at: float | None = None
    ended_by: str = ""
    note: str = ""

    @property
    def latched(self) -> bool:
        """Whether nobody has ended it."""
        return not self.end

    @property
    def state(self) -> Literal["new", "acted", "acknowledged", "rebased", "replaced"]:
        """Where it stands: acted once anything but its telling was done."""
        if self.end:
            return self.end  # type: ignore[return-value]  # one of `ENDS`
        return "acted" if LARGE & self.acts.keys() else "new"

    @property
    def mark(self) -> str:
        """By what a commit that it made is told from others, in the commit's reason."""
        return _MARK.format(self.id)

    @property
    def reason(self) -> str:
        """Why it changes a rollout, for the history."""
        return f"drift at {self.endpoint}: {self.words} {self.mark}"

    @property
    def names(self) -> tuple[str, ...]:
        """What it is about: of a large change what is large, else all."""
        return self.acting or tuple(one.name for one in self.features)

    def owed(self, wanted: Collection[str]) -> tuple[str, ...]:
        """Return what is to be done now, in its order.

        Args:
            wanted: of `ACTS` those that the settings ask for.
        """
        if not self.latched:
            return ()
        large = self.kind != "schema" and bool(self.acting)
        return tuple(
            act for act in ACTS if act in wanted and act not in self.acts and (large or act not in LARGE)
        )

    def did(self, act: str, what: str) -> Alarm:
        """Return it with an act done; one that was is not done again.

        Args:
            act: one of `ACTS`.
            what: what came of it, in words.
        """
        if act not in ACTS:
            raise InvalidValue(f"{shown(act)} is no act of an alarm; there are: {', '.join(ACTS)}")
        return self if act in self.acts else replace(self, acts={**self.acts, act: what})

    def grown(self, acting: tuple[str, ...], features: tuple[Told, ...]) -> Alarm:
        """Return it with what was found to be large; the first time it is counts."""
        return self if self.acting or not acting else replace(self, acting=acting, features=features)

    def acknowledged(self, who: str, at: float, note: str = "") -> Alarm:
        """Return it as a person has seen it."""
        return self._ended("acknowledged", who, at, note)

    def rebased(self, who: str, at: float, note: str = "") -> Alarm:
        """Return it as a person gave its test another reference."""
        return self._ended("rebased", who, at, note)

    def replaced(self, at: float, note: str) -> Alarm:
        """Return it as the service has another reference than the one it was found with."""
        return self._ended("replaced", DRIFT, at, note)

    def _ended(self, end: str, who: str, at: float, note: str) -> Alarm:
        if self.end:
            return self
        return replace(self, end=end, ended_by=who, ended_at=at, note=note)

    @property
    def plain(self) -> dict[str, Any]:
        """All of it as plain data, which JSON can say."""
        return {
            "id": self.id,
            "test": self.test,
            "kind": self.kind,
            "endpoint": self.endpoint,
            "epoch": self.epoch,
            "at": self.at,
            "row": self.row,
            "revision": self.revision,
            "words": self.words,
            "features": [one.plain for one in self.features],
            "acting": list(self.acting),
            "acts": dict(self.acts),
            "state": self.state,
            "ended_at": self.ended_at,
            "ended_by": self.ended_by,
            "note": self.note,
        }


_WAYS = {"higher": "is higher", "lower": "is lower", "wider": "is wider", "narrower": "is narrower"}
_OFTEN = {
    "higher": "has its frequent values more often",
    "lower": "has its rare values more often",
    "wider": "has its extremes more often",
    "narrower": "has its middle more often",
}


def changed(name: str, direction: str, *, kind: str = "numeric") -> str:
    """Return in words how a feature has changed.

    >>> changed("age", "higher"), changed("town", "lower", kind="category")
    ('age is higher', 'town has its rare values more often')
    """
    ways = _OFTEN if kind == "category" else _WAYS
    return f"{cut(name)} {ways.get(direction, 'has changed')}"


def cut(name: str) -> str:
    """Return a name that anybody may have given as a part of a sentence."""
    plain = name if name.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in name)
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}\u2026"


def said_of(kind: str, words: Collection[str], since_row: int | None) -> str:
    """Return what an alarm says in one sentence without a value.

    Args:
        kind: one of `KINDS`.
        words: how each feature has changed, the strongest first.
        since_row: the row with which it began, as estimated.

    >>> said_of("data", ["age is higher", "pay is lower", "a is wider", "b is wider"], 80)
    'what comes in has changed since about row 80: age is higher, pay is lower, a is wider, and 1 more'
    """
    what = {"data": "what comes in has changed", "concept": "predictions are wrong more often"}.get(
        kind, "the form of what comes in has changed"
    )
    since = f" since about {'label' if kind == 'concept' else 'row'} {since_row}" if since_row else ""
    named = list(words)
    more = [f"and {len(named) - SHOWN} more"] if len(named) > SHOWN else []
    told = ", ".join([*named[:SHOWN], *more])
    return f"{what}{since}: {told}" if told else f"{what}{since}"


def is_latched(alarms: Collection[Alarm]) -> bool:
    """Whether any alarm waits for a person."""
    return any(alarm.latched for alarm in alarms)


def mark_in(reason: str, alarm: Alarm) -> bool:
    """Whether a commit with this reason was made by an alarm."""
    return alarm.mark in reason
