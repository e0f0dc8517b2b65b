"""`Acts`: what an alarm of drift does by itself: tells of it, pauses the rollout, lets people decide again.

Each is done once, whatever ends meanwhile: a change of the rollout carries the alarm's mark in its reason,
and whoever goes on looks for it in the history before it commits, against the very revision that it looked
at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import takewhile
from typing import Any

from .alarms import DRIFT, Alarm
from .degrees import Degree
from .errors import Conflict, Refused, RolloutError
from .notice import notice_of_alarm
from .notifier import Notifier
from .operations import Rollout
from .standing import AUTOMATION, degree_of
from .state import Commit, RolloutState
from .telemetry import log

__all__ = ["Acts", "problem_of"]

LAST_LINE = 1.0
"""Seconds that the line of an alarm may take to be written; a log that is stuck keeps nobody longer."""

FURTHEST = 500
"""Revisions in which an alarm's own change is looked for."""


class Acts:
    """What alarms do to one rollout.

    Args:
        rollout: for the author ``drift``.
        wanted: of ``pause`` and ``demote`` those that the spec asks for.
        notifier: makes what tells the receivers of notices, when it is first needed; None: there are none.
    """

    def __init__(
        self, rollout: Rollout, wanted: Collection[str], notifier: Callable[[], Notifier] | None
    ) -> None:
        self._rollout, self._make = rollout, notifier
        self._notifier: Notifier | None = None
        told = ["log", *([] if notifier is None else ["notify"])]
        self._wanted = frozenset((*told, *wanted))
        self._offered: set[str] = set()

    def owed(self, alarm: Alarm) -> tuple[str, ...]:
        """Return what an alarm is to do now."""
        return alarm.owed(self._wanted)

    def do(self, act: str, alarm: Alarm) -> str | None:
        """Do one thing; return what came of it, to be noted with the alarm; None: it is not done yet.

        Raises:
            RolloutError: it could not be done now; it is tried again.
        """
        ways = {"log": self._log, "notify": self._notify, "pause": self._pause, "demote": self._demote}
        return ways[act](alarm)

    def close(self) -> None:
        """Tell what is due; what is left is the next owner's."""
        if self._notifier is not None:
            self._notifier.close()

    def _log(self, alarm: Alarm) -> str:
        log.event(
            "drift.alarm",
            "error",
            rollout=self._rollout.name,
            endpoint=alarm.endpoint,
            test=alarm.test,
            kind=alarm.kind,
            alarm=alarm.id,
            epoch=alarm.epoch,
            rows=alarm.row,
            revision=alarm.revision,
            features=[one.name for one in alarm.features],
            reason=alarm.words,
        )
        log.WRITER.flush(LAST_LINE)  # it is noted as written once it is: a kill between costs a second line
        return "written"

    def _notify(self, alarm: Alarm) -> str | None:
        """Offer a notice; it is done when every receiver was told, or given up."""
        if self._make is None:
            return "nobody is told"
        self._notifier = self._notifier or self._make()
        notice = notice_of_alarm(alarm, self._rollout.state)
        if alarm.id not in self._offered:
            self._offered.add(alarm.id)
            self._notifier.offer(notice)
        return None if self._notifier.waits(notice) else "told"

    def _pause(self, alarm: Alarm) -> str | None:
        """Pause the rollout; one that is paused, whoever did it, stays as it is."""
        newest = self._rollout.history(1)[0]
        if (made := self._made(alarm.reason, alarm)) is not None:
            return f"paused in revision {made.revision}"
        try:
            change = self._rollout.pause(reason=alarm.reason, if_revision=newest.revision)
        except Conflict:
            return None
        except Refused as error:
            return f"not paused: {error}"
        return f"paused in revision {change.state.revision}" if change.changed else "was paused already"

    def _demote(self, alarm: Alarm) -> str | None:
        """Let people decide again what the models decided that the alarm is about."""
        done = []
        for variant, digest in self._deciding(self._rollout.state, alarm):
            why = f"{alarm.reason} ({variant})"
            made = self._made(why, alarm)
            if made is None:
                change = self._rollout.demote(alarm.endpoint, Degree.SHADOW, why, digest=digest)
                done += [f"{variant} in revision {change.state.revision}"] if change.changed else []
            else:
                done.append(f"{variant} in revision {made.revision}")
        return f"demoted {', '.join(done)}" if done else "no model decided"

    def _deciding(self, state: RolloutState, alarm: Alarm) -> list[tuple[str, str]]:
        """Return who decides by itself at the endpoint, or had an alarm's own change: name and digest.

        Loss that grows is one variant's; what comes in is the same for all.
        """
        only = alarm.test.partition("/")[2] if alarm.kind == "concept" else None
        found: dict[str, str] = {}
        for variant, digest in sorted(state.granted.items()):
            if not digest or digest in found.values() or (only is not None and variant != only):
                continue
            decides = degree_of(state, alarm.endpoint, digest) > Degree.SHADOW
            if decides or self._made(f"{alarm.reason} ({variant})", alarm) is not None:
                found[variant] = digest
        return list(found.items())

    def _made(self, reason: str, alarm: Alarm) -> Commit | None:
        """Return the commit that an alarm made already; None: it made none."""
        newer = takewhile(lambda commit: commit.revision > alarm.revision, self._rollout.history(FURTHEST))
        mine = (one for one in newer if one.author in _OURS and one.reason == reason)
        return next(mine, None)


_OURS = (DRIFT, AUTOMATION)


def problem_of(error: Exception) -> dict[str, Any]:
    """Return what a log line says of an act that could not be done."""
    return {"problem": str(error) if isinstance(error, RolloutError) else log.described(error)}
