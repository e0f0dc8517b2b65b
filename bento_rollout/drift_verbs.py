"""`DriftVerbs`: what people ask about drift, and tell the watch: `open_rollout("screening").drift`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .alarms import Alarm
from .committing import Desk
from .drift_report import drift_report, drift_status
from .errors import InvalidValue, NotFound
from .store import RolloutStore
from .store.drift_file import DriftFile
from .store.drift_rows import Level, Stored
from .values import shown

if TYPE_CHECKING:
    from .drift import Reference
    from .drift_hand import Watch

__all__ = ["DriftVerbs", "fit", "granted_at"]

PATIENCE = 5.0
"""Seconds to wait for the owner's lock."""

_LOSSES = ("loss", "alpha", "min_coverage", "reference", "seed")

SAME = 1e-9
"""How far a replay may be from what was kept."""


class DriftVerbs:
    """The watch for drift of one rollout, for people.

    Args:
        desk: the rollout's; its author is who acknowledges.

    Raises:
        NotFound: every operation: the store has no such rollout.
        StoreUnreachable: what is known of drift cannot be read or written.
        StoreCorrupt: it is damaged.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._place = desk.store.place(desk.name)
        self._file = DriftFile(self._place, patience=PATIENCE)

    # -- looking ---------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return how the tests stand, and which alarms wait: the JSON of ``drift NAME status --json``."""
        return self._status(self._file.levels())

    def _status(self, levels: Sequence[Level]) -> dict[str, Any]:
        self._desk.read()
        return drift_status(self._desk.name, levels, self._file.alarms(), self._file.facts(), time.time())

    def report(self) -> dict[str, Any]:
        """Return all that is known: the JSON of ``drift NAME report --json``.

        Beside `status` of each test its course, and each feature with both histograms and the size of its
        change; bounds of bins and names of categories are those of the reference.
        """
        watches, levels = self._file.standing()  # of one moment, so that numbers agree
        status = self._status(levels)
        features = {"data": self._features(watches)}
        timelines = {one.test: self._file.timeline(one.test, one.epoch) for one in levels}
        epochs = {one.test: self._file.epochs(one.test) for one in levels}
        return drift_report(status, features, timelines, epochs)

    def _features(self, watches: Sequence[Stored]) -> list[dict[str, Any]]:
        stored = next((one for one in watches if one.key == "data"), None)
        if stored is None:
            return []
        from .drift_parts import parts_of  # late: they bring numpy
        from .drift_watch import DataWatch

        watch = self._opened(stored)
        assert isinstance(watch, DataWatch)  # by its key
        return [one.plain for one in parts_of(watch.test)]

    def replay(self, *, breath: float = 0.0) -> dict[str, Any]:
        """Return whether the ledger gives the same evidence again: the JSON of ``drift NAME replay --json``.

        Each watch is begun as it was at the start of its epoch, and reads the ledger up to where it was read.

        Args:
            breath: seconds between two pages, for a process that serves, too.
        """
        self._desk.read()
        found: dict[str, dict[str, Any]] = {}
        for stored in self._file.watches():
            if stored.key != "schema":
                found |= self._replayed(stored, breath)
        return {"rollout": self._desk.name, "tests": found}

    def _replayed(self, stored: Stored, breath: float) -> dict[str, dict[str, Any]]:
        now = time.time()
        kept, again, missing = self._opened(stored), self._opened(stored, start=True), 0
        until = int(stored.position.get("seq", 0))
        while again.mark.seq < until:  # type: ignore[attr-defined]  # the schema's has none, and is not replayed
            again, lost, more = self._read_on(again, until)
            missing += lost
            if not more:
                break
            time.sleep(breath)
        gone = (
            f"{missing} predictions are not in the ledger any more (pruned, or forgotten)" if missing else ""
        )
        ours = {one.test: one for one in _named_as(kept, again).levels(now)}
        rows = {}
        for one in kept.levels(now):
            other = ours.get(one.test)
            evidence = None if other is None else other.log_evidence
            same: bool | None = evidence is not None and abs(evidence - one.log_evidence) <= SAME
            rows[one.test] = {
                "rows": one.rows,
                "kept": one.log_evidence,
                "again": evidence,
                "same": same if same or not missing else None,
                "words": gone,
            }
        return rows

    def _read_on(self, watch: Watch, until: int) -> tuple[Watch, int, bool]:
        """Return a watch after the next page, how many predictions were gone, and whether there is more."""
        from .concept_watch import ConceptWatch
        from .drift_watch import DataWatch

        if isinstance(watch, DataWatch):
            after, page, _ = watch.read(self._place, until)
            return after, page.missing, page.more
        assert isinstance(watch, ConceptWatch)  # the others are not replayed
        losses, ripe, _ = watch.read(self._place, self._digest_of, float("inf"), until)
        return losses, ripe.missing, ripe.more

    def _digest_of(self, row: Any) -> str:
        return granted_at(self._desk.store, self._desk.name, row.revision).get(row.variant, "")

    # -- telling the watch -----------------------------------------------------------------------------

    def ack(
        self, alarm: str | None = None, *, reason: str = "", if_revision: int | None = None
    ) -> dict[str, Any]:
        """Say that an alarm was seen: it is latched no more, and its test begins anew, the reference stays.

        Args:
            alarm: its name; None: all that are latched.
            reason: why; kept with the alarm.
            if_revision: refuse unless this is the rollout's current revision.

        Raises:
            NotFound: no latched alarm has that name.
            NotDurable: it would not bind everybody whom it must.
            Conflict: the rollout is at another revision.
        """
        who = self._admitted(reason, if_revision)
        words: list[str] = []

        def revise(
            watches: tuple[Stored, ...], _: tuple[Level, ...], latched: tuple[Alarm, ...]
        ) -> tuple[Sequence[Stored], Sequence[Level], Sequence[Alarm]]:
            now, chosen = time.time(), _chosen(latched, alarm)
            tests = {one.test for one in chosen}
            stored, stands = self._anew(watches, tests, lambda watch: _acknowledged(watch, tests), now)
            words[:] = [f"{one.id} is acknowledged; {one.test} begins anew" for one in chosen]
            return stored, stands, [one.acknowledged(who, now, reason) for one in chosen]

        self._file.revise(revise, why=f"acknowledged by {who}" + (f": {reason}" if reason else ""))
        return self._told(words, "no alarm is latched: nothing to acknowledge")

    def rebase(
        self,
        *,
        rows: int | None = None,
        file: str | Path | None = None,
        test: str = "data",
        reason: str = "",
        if_revision: int | None = None,
    ) -> dict[str, Any]:
        """Let what comes now be the reference: a test begins anew, and its alarm ends.

        The bins stay where they are: what is new is how many rows lie in each.

        Args:
            rows: how many of the last rows, or labels; None: all that are kept, at most 2 000.
            file: instead, rows in a file (CSV, JSON lines, numpy's, or Parquet); of ``data``.
            test: ``data``, or ``concept/VARIANT``.
            reason: why; kept with the alarm.
            if_revision: refuse unless this is the rollout's current revision.

        Raises:
            InvalidValue: there are too few rows, or they are not built like the reference.
            NotFound: there is no such test.
            NotDurable: it would not bind everybody whom it must.
            Conflict: the rollout is at another revision.
        """
        who = self._admitted(reason, if_revision)
        if rows is not None and file is not None:
            raise InvalidValue("say rows or a file, not both")
        if file is not None and test != "data":
            raise InvalidValue(f"a file has rows, and {test} is about losses: say rows")
        data = None if file is None else _rows_in(Path(file))
        words: list[str] = []

        def revise(
            watches: tuple[Stored, ...], levels: tuple[Level, ...], latched: tuple[Alarm, ...]
        ) -> tuple[Sequence[Stored], Sequence[Level], Sequence[Alarm]]:
            if test not in {one.test for one in levels if one.kind != "schema"}:
                listed = ", ".join(one.test for one in levels if one.kind != "schema") or "none yet"
                raise NotFound(f"there is no test {shown(test)}; there are: {listed}")
            now = time.time()
            stored, stands = self._anew(watches, {test}, lambda watch: _rebased(watch, test, rows, data), now)
            words[:] = [f"{test} begins anew, against {_source(rows, file)}"]
            return stored, stands, [one.rebased(who, now, reason) for one in latched if one.test == test]

        self._file.revise(revise, why=f"rebased by {who}" + (f": {reason}" if reason else ""))
        return self._told(words, "")

    def _anew(
        self, watches: Sequence[Stored], tests: set[str], change: Any, now: float
    ) -> tuple[list[Stored], list[Level]]:
        """Return the watches that some tests are of, begun anew, and how all of their tests stand then."""
        stored, levels = [], []
        for one in watches:
            if any(test.partition("/")[0] == one.key for test in tests):
                after = change(self._opened(one))
                stored.append(after.stored(one.version, now))
                levels += after.levels(now)
        return stored, levels

    def _opened(self, stored: Stored, *, start: bool = False) -> Watch:
        """Return a watch as it was left, or as it began."""
        from .concept import ConceptRules  # late: they bring numpy
        from .concept_watch import ConceptSettings
        from .drift_hand import opened
        from .drift_watch import DataRules

        told: Mapping[str, Any] = stored.told
        if stored.key == "concept":
            rules = ConceptRules(**{name: told[name] for name in _LOSSES})
            settings = ConceptSettings(stored.endpoint, told["label"], told["matures"], rules)
            return opened(stored, None, settings, None, start=start)
        data = DataRules(stored.endpoint, **told) if stored.key == "data" else None
        return opened(stored, data, None, self._reference(stored), start=start)

    def _reference(self, stored: Stored) -> Reference:
        from .drift import Reference

        text = self._file.reference(stored.digest)
        if text is None:
            raise InvalidValue(f"the reference {stored.digest} is not kept beside the watch any more")
        return Reference.from_json(text)

    def _admitted(self, reason: str, if_revision: int | None) -> str:
        self._desk.admit(reason)
        self._desk.read(if_revision)
        return self._desk.author

    def _told(self, words: Sequence[str], nothing: str) -> dict[str, Any]:
        status = self.status()
        return {"changed": bool(words), "words": list(words) or [nothing], "status": status}


def fit(
    file: str | Path,
    *,
    out: str | Path | None = None,
    model: str = "",
    labels: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    segments: Sequence[str] = (),
) -> dict[str, Any]:
    """Fit a reference from data, as when a model is built: what ``drift NAME fit`` prints.

    Args:
        file: rows in a file: ``.csv``, ``.jsonl``, ``.npy``, ``.npz`` or ``.parquet``.
        out: where the reference is written; None: nowhere.
        model: the tag or digest of the model that it belongs to.
        labels: columns that the model is not given.
        kinds: the kind of some columns: ``numeric``, ``category``, ``text``, ``embedding``.
        segments: columns whose values are to be tested by themselves too, at most three.

    Raises:
        InvalidValue: the file is missing or damaged, or it is too little to be compared with.
    """
    from .drift import Reference
    from .reference_file import read_rows

    rows: Any = read_rows(Path(file))
    if labels:
        columns = dict(rows) if isinstance(rows, Mapping) else {}
        if unknown := [name for name in labels if name not in columns]:
            raise InvalidValue(
                f"--labels {unknown[0]}: {file} has no column of that name: {', '.join(columns)}"
            )
        rows = {name: column for name, column in columns.items() if name not in labels}
    found = Reference.fit(rows, kinds=dict(kinds or {}), segments=segments)  # type: ignore[arg-type]  # it says which are none
    found = found.of_model(model) if model else found
    if out is not None:
        _write(Path(out), found.to_json())
    return {
        "digest": found.digest,
        "rows": found.rows,
        "model": found.model,
        "file": None if out is None else str(out),
        "warnings": list(found.warnings),
        "segments": {
            f"{one.column}={value}": int(rows)
            for one in found.segments
            for value, rows in zip(
                one.bins.values, one.rows, strict=False
            )  # others, and missing ones, follow
        },
        "features": [
            {
                "name": one.name,
                "kind": one.kind,
                "bins": 0 if one.bins is None else one.bins.size,
                "skipped": one.skipped or None,
                "dependence": found.dependence.get(one.name),
            }
            for one in found.features
        ],
    }


def granted_at(store: RolloutStore, rollout: str, revision: int) -> Mapping[str, str]:
    """Return which code each variant was at a revision; what is not known is left out."""
    for commit in store.history(rollout, 1, before=revision + 1):
        if commit.revision == revision:
            return commit.state.granted
    return {}


def _named_as(kept: Watch, again: Watch) -> Watch:
    """Return a watch that was replayed with the tests of those models that variants are now."""
    from .concept_watch import ConceptWatch

    if isinstance(kept, ConceptWatch) and isinstance(again, ConceptWatch):
        return replace(again, offsets=kept.offsets)
    return again


def _write(out: Path, text: str) -> None:
    try:
        out.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidValue(f"{out}: {error.strerror}") from None


def _chosen(latched: Sequence[Alarm], alarm: str | None) -> list[Alarm]:
    chosen = [one for one in latched if alarm in (None, one.id)]
    if alarm is not None and not chosen:
        listed = ", ".join(one.id for one in latched) or "none"
        raise NotFound(f"no latched alarm is called {shown(alarm)}; latched: {listed}")
    return chosen


def _acknowledged(watch: Any, tests: set[str]) -> Any:
    concept = sorted(test for test in tests if test.startswith("concept/"))
    return watch.acknowledged(concept) if watch.key == "concept" else watch.acknowledged()


def _rebased(watch: Any, test: str, rows: int | None, data: object) -> Any:
    return watch.rebased([test], rows) if watch.key == "concept" else watch.rebased(rows, data)


def _rows_in(file: Path) -> object:
    from .reference_file import read_rows

    return read_rows(file)


def _source(rows: int | None, file: str | Path | None) -> str:
    return (
        f"the rows in {file}"
        if file is not None
        else f"the last {rows} ones"
        if rows
        else "the newest ones that are kept"
    )
