"""Cases come into the people's queue, and what the model says of them; and cases end."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import InvalidValue, QueueFull
from ..reviewing import Case, Decision, Shown, Status, Suggestion
from . import letters, trail
from .reviews_file import WHENEVER
from .reviews_rows import Submission, decision_of, json_of
from .seal import Seal
from .sql import Db, Row

__all__ = [
    "AUTOMATION",
    "End",
    "end",
    "insert",
    "insert_each",
    "keep_suggestion",
    "opened",
    "task_of",
    "withdraw",
]

AUTOMATION = "automation"
"""Who acts in the trail where no person does."""

_AT_ONCE = 500
"""Cases that one statement asks about."""

_COLUMNS = (
    "id, prediction_id, endpoint, revision, degree, selection, probability, held, asked, reviewers, "
    "adjudicate, priority, created, due, stage, status, settle, secret, key_hash, decisions_for, "
    "labels_until, visibility, on_timeout, segment"
)


def insert(db: Db, submission: Submission, now: float, *, seal: Callable[[], Seal]) -> Decision:
    """Keep a case, unless too many are open; one that is already there stays as it is.

    What it raises of a case it raises before it writes anything.

    Raises:
        QueueFull: ``most`` are open.
        InvalidValue: it is none that can be kept.
    """
    (found,) = insert_each(db, [submission], now, seal=seal)
    if isinstance(found, Decision):
        return found
    raise found


def _insert(db: Db, submission: Submission, now: float, *, seal: Callable[[], Seal], told: bool) -> Decision:
    """Keep a case that is not there, and leave word of it if its endpoint's webhook is told."""
    case, keep, key_hash = submission.case, submission.keep, submission.key_hash
    _check(case)
    content = _content(case.id, case.input, seal if keep.sealed else None)
    settle = case.due if case.held and case.on_timeout != "wait" else None
    inputs_until = case.created + keep.inputs
    row = (
        case.id,
        case.prediction_id,
        case.endpoint,
        case.revision,
        int(case.degree),
        case.selection.value,
        case.probability,
        int(case.held),
        _asked(case),
        case.reviewers,
        int(case.adjudicate),
        case.priority,
        case.created,
        WHENEVER if case.due is None else case.due,
        "review",
        Status.OPEN.value,
        settle,
        case.secret,
        key_hash,
        keep.decisions,
        case.created + max(keep.labels, keep.inputs, keep.decisions),
        case.visibility.value,
        case.on_timeout,
        case.segment,
    )
    marks = ", ".join("?" * len(row))
    db.execute(f"INSERT INTO tasks ({_COLUMNS}) VALUES ({marks})", row)  # noqa: S608 - constants
    (task,) = db.execute("SELECT seq FROM tasks WHERE id = ?", (case.id,)).fetchone()
    _keep_input(db, task, inputs_until, content, sealed=keep.sealed)
    if case.suggestion is not None:
        _insert_suggestion(db, task, case.suggestion)
    if told:
        letters.put(db, "case.opened", case.endpoint, task, now)
    return Decision(case.id, case.prediction_id, case.endpoint, Status.OPEN, secret=case.secret)


def insert_each(
    db: Db, submissions: Sequence[Submission], now: float, *, seal: Callable[[], Seal]
) -> list[Decision | QueueFull | InvalidValue]:
    """Keep cases, each as `insert` does; one that cannot be kept leaves the others as they are.

    What is the same for all of them is read once, and their acts are written together: each statement lets
    go of the interpreter, for which the thread that serves waits then.
    """
    known, told = _known(db, [submission.case.id for submission in submissions]), letters.listening(db)
    number = {name: opened(db, name) for name in {submission.case.endpoint for submission in submissions}}
    found: list[Decision | QueueFull | InvalidValue] = []
    acts: list[tuple[str, Mapping[str, object]]] = []
    for submission in submissions:
        case, most = submission.case, submission.most
        if case.id in known and (task := task_of(db, case.id)) is not None:
            found.append(decision_of(db, task))
            continue
        if most is not None and number[case.endpoint] >= most:
            full = QueueFull(case.endpoint, number[case.endpoint], most)
            letters.overflowed(db, full, now)
            found.append(full)
            continue
        try:
            found.append(_insert(db, submission, now, seal=seal, told=case.endpoint in told))
        except InvalidValue as error:
            found.append(error)
            continue
        known.add(case.id)
        number[case.endpoint] += 1
        facts = {"endpoint": case.endpoint, "degree": case.degree.word, "selection": case.selection.value}
        acts.append((case.id, facts))
    trail.append_each(db, now, AUTOMATION, "submitted", acts)
    return found


def _known(db: Db, names: Sequence[str]) -> set[str]:
    """Return which of these cases are there."""
    found: set[str] = set()
    for some in (names[at : at + _AT_ONCE] for at in range(0, len(names), _AT_ONCE)):
        marks = ", ".join("?" * len(some))
        found |= {row["id"] for row in db.execute(f"SELECT id FROM tasks WHERE id IN ({marks})", some)}  # noqa: S608 - marks
    return found


def _content(case: str, shown: Shown, seal: Callable[[], Seal] | None) -> bytes:
    """Return what reviewers are shown as it is kept, sealed if there is a seal.

    Raises:
        InvalidValue: it is nothing that JSON can say.
    """
    told = {"kind": shown.kind, "content": shown.content, "media_type": shown.media_type}
    try:
        content = json_of(told).encode()
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"the input of case {case} cannot be kept: {type(error).__name__}") from None
    return content if seal is None else seal().close(case, content)


def _keep_input(db: Db, task: int, until: float, content: bytes, *, sealed: bool) -> None:
    db.execute(
        "INSERT INTO inputs VALUES (?, ?, ?, ?) ON CONFLICT (task) DO UPDATE SET "
        "until = excluded.until, sealed = excluded.sealed, content = excluded.content",
        (task, until, int(sealed), content),
    )


def keep_suggestion(
    db: Db,
    task: Row,
    suggestion: Suggestion,
    now: float,
    *,
    shown: Shown | None,
    seal: Callable[[], Seal],
) -> bool:
    """Keep what the model said of a case, if it had said nothing; ``shown`` replaces an open one's input."""
    if shown is not None and task["status"] == Status.OPEN.value:
        query = "SELECT until, sealed FROM inputs WHERE task = ?"
        if (old := db.execute(query, (task["seq"],)).fetchone()) is not None:
            content = _content(task["id"], shown, seal if old["sealed"] else None)
            _keep_input(db, task["seq"], old["until"], content, sealed=bool(old["sealed"]))
    if not _insert_suggestion(db, task["seq"], suggestion):
        return False
    facts = {"variant": suggestion.variant, "digest": suggestion.digest, "said": suggestion.at}
    trail.append(db, now, AUTOMATION, "suggested", task["id"], **facts)
    return True


def withdraw(db: Db, ids: Collection[str], now: float, *, who: str = AUTOMATION, why: str = "") -> int:
    """End open cases that nobody needs any more, and return how many there were."""
    return sum(
        end(db, task, End(Status.WITHDRAWN, who=who, why=why), now)
        for task in (task_of(db, name) for name in ids)
        if task is not None
    )


@dataclass(frozen=True, slots=True)
class End:
    """How a case ends.

    Attributes:
        status: as what.
        by: who decided: ``human``, ``model`` or ``default``; empty: nobody.
        choice: what was chosen, as JSON text.
        part: the reviewer whose answer it is.
        made: media type and body of what the caller gets.
        who, why: for the trail.
        facts: more for the trail.
    """

    status: Status
    by: str = ""
    choice: str | None = None
    part: str | None = None
    made: tuple[str, bytes] | None = None
    who: str = AUTOMATION
    why: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)


def end(db: Db, task: Row, how: End, now: float) -> bool:
    """End a case if it is open, by compare-and-set: of several who try, one does."""
    expires = now + task["decisions_for"]
    done = db.execute(
        "UPDATE tasks SET status = ?, stage = NULL, settle = NULL, pending = NULL, decided = ?, "
        "decided_by = ?, choice = ?, part = ?, expires = ? WHERE seq = ? AND status = 'open'",
        (how.status.value, now, how.by, how.choice, how.part, expires, task["seq"]),
    ).rowcount
    if not done:
        return False
    if how.made is not None:
        db.execute("INSERT INTO decisions VALUES (?, ?, ?, ?)", (task["seq"], expires, *how.made))
    db.execute("UPDATE parts SET media_type = NULL, body = NULL WHERE task = ?", (task["seq"],))
    what = "decided" if how.status is Status.ANSWERED else how.status.value
    told = {key: it for key, it in (("by", how.by), ("why", how.why)) if it}
    trail.append(db, now, how.who, what, task["id"], **told, **how.facts)
    letters.put(db, "case.decided", task["endpoint"], task["seq"], now)
    return True


def opened(db: Db, endpoint: str) -> int:
    """Return how many cases of an endpoint are open."""
    row = db.execute("SELECT number FROM opened WHERE endpoint = ?", (endpoint,)).fetchone()
    return 0 if row is None else int(row["number"])


def task_of(db: Db, name: str) -> Row | None:
    """Return the row of a case; None: there is none."""
    found: Row | None = db.execute("SELECT * FROM tasks WHERE id = ?", (name,)).fetchone()
    return found


def _insert_suggestion(db: Db, task: int, said: Suggestion) -> bool:
    try:
        output = json_of(said.output)
    except (TypeError, ValueError):
        output = None  # its choice and its score are what counts
    score = None if said.score is None or math.isnan(said.score) else float(said.score)
    row = (task, output, said.choice, score, said.variant, said.digest, said.at)
    query = "INSERT INTO suggestions VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (task) DO NOTHING"
    return bool(db.execute(query, row).rowcount)


def _asked(case: Case) -> str:
    told = {
        "choices": list(case.choices),
        "schema": None if case.schema is None else dict(case.schema),
        "why": list(case.why),
        "blind": case.blind,
        "default": case.default,
    }
    try:
        return json_of(told)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"case {case.id} cannot be kept: its schema is no JSON ({error})") from None


def _check(case: Case) -> None:
    if not case.id or not case.endpoint:
        raise InvalidValue("a case has an id and an endpoint")
    if case.reviewers not in (1, 2):
        raise InvalidValue(f"case {case.id} asks for {case.reviewers} reviewers: 1 or 2 can be asked")
    if not 0.0 < case.probability <= 1.0:
        raise InvalidValue(
            f"case {case.id} was drawn with probability {case.probability!r}: it is above 0, at most 1"
        )
    if not all(map(math.isfinite, (case.created, case.due or 0.0))):
        raise InvalidValue(f"case {case.id} has a time that is none")
