"""Concept drift of the models of an endpoint: matured labels become losses, and losses are tested; pure."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .drift.loss_test import LEAST, LossTest
from .drift.losses import KINDS, Sight, loss_of, losses_of
from .errors import InvalidValue
from .label_evidence import Mature

__all__ = ["AUTO", "Concept", "ConceptBoard", "ConceptRules"]

AUTO = "auto"
"""The kind of loss is found from the labels and answers themselves."""

WINDOW = 1000
"""Matured predictions, the newest, by which label coverage is told."""

FEW = 50
"""With fewer matured predictions nothing is said of coverage."""

MODELS = 16
"""Models that are remembered, those that were fed last: a variant gets new ones for years."""

VERSION = 1
"""Of what is stored; another one is refused."""

_DAMAGED = "what is stored of concept drift is damaged"

_COUNTS = ("matured", "labelled", "odd", "unfed")


@dataclass(frozen=True, slots=True)
class ConceptRules:
    """How losses are tested. Immutable.

    Args:
        loss: one of ``zero_one``, ``log``, ``absolute`` and ``pinball``; ``auto``: found from the reference.
        alpha: the chance of a false alarm, ever, of one model.
        min_coverage: the part of matured predictions that must have a label, from 0 to 1.
        reference: how many losses of a model, its first, are the reference; at least 100.
        seed: of the numbers that break ties.

    Raises:
        InvalidValue: a kind that is none, or a number out of its range.
    """

    loss: str = AUTO
    alpha: float = 0.01
    min_coverage: float = 0.5
    reference: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loss not in (AUTO, *KINDS):
            raise InvalidValue(f"loss {self.loss!r} is none: choose one of {', '.join((AUTO, *KINDS))}")
        if not 0 < self.alpha <= 0.5:  # noqa: PLR2004 - said in the message
            raise InvalidValue(f"alpha is {self.alpha!r}: a chance above 0 and at most 0.5 is needed")
        if not 0 <= self.min_coverage <= 1:
            raise InvalidValue(f"min_coverage is {self.min_coverage!r}: a part from 0 to 1 is needed")
        if self.reference < LEAST:
            raise InvalidValue(f"reference is {self.reference!r}: at least {LEAST} labels are needed")


@dataclass(frozen=True, slots=True, eq=False)
class Concept:
    """What the matured labels of one model say of it. Immutable; `update` returns the next one.

    Its first labels are the reference, and the test begins after them. Both take labels only while enough of
    the matured predictions have one: labels that come for some cases only say how those are.

    Attributes:
        rules: how it is tested.
        test: the test; None: the reference is not whole yet.
        matured: how many predictions have matured.
        labelled: how many of these had a label.
        odd: how many labels gave no loss with their answer: an answer that was not kept, or of another kind.
        unfed: how many labels were left out because too few of the others were there.
        recent: for each of the newest 1 000 matured predictions whether it had a label, as bytes 0 and 1.
        sight: what was seen of labels and answers while the reference is gathered.
        gathered: the losses of the reference so far, of each kind that may be chosen.
        unfit: how often a whole reference had no loss of one kind, and was begun anew.
    """

    rules: ConceptRules
    test: LossTest | None = None
    matured: int = 0
    labelled: int = 0
    odd: int = 0
    unfed: int = 0
    recent: bytes = b""
    sight: Sight = field(default_factory=Sight)
    gathered: tuple[tuple[float | None, ...], ...] = ()
    unfit: int = 0

    @classmethod
    def begun(cls, rules: ConceptRules, losses: Iterable[float] = ()) -> Concept:
        """Return it before the first matured prediction.

        Args:
            rules: how it is tested.
            losses: of this model on labelled data, as its reference; without at least 100 its first labels
                are. Where the rules leave the kind open they must be 0 or 1: nothing tells what others are.
        """
        known = list(losses)
        kind = rules.loss if rules.loss != AUTO else "zero_one" if set(known) <= {0, 1} else None
        if kind is None or len(known) < LEAST:
            return cls(rules)
        return cls(rules, LossTest.fit(known, kind=kind, alpha=rules.alpha, seed=rules.seed))

    @property
    def coverage(self) -> float | None:
        """The part of the newest matured predictions that had a label; None: there are fewer than 50."""
        return sum(self.recent) / len(self.recent) if len(self.recent) >= FEW else None

    @property
    def covered(self) -> bool:
        """Whether labels are looked at now."""
        return self.coverage is None or self.coverage >= self.rules.min_coverage

    @property
    def alarm(self) -> bool:
        """Whether the loss has risen, which stays so until somebody acknowledges it."""
        return self.test is not None and self.test.alarm

    @property
    def words(self) -> str:
        """How it stands, in words; never a label or an answer."""
        if self.test is not None and self.test.alarm:
            now, before = self.test.recent_mean, self.test.reference_mean
            means = "" if now is None else f", from {before:.3g} to {now:.3g} on average"
            return f"the {self.test.kind} loss has risen{means}, since label {self.test.since_row + 1}"
        if not self.covered and self.coverage is not None:
            least = self.rules.min_coverage
            return f"coverage {self.coverage:.0%} of {least:.0%}: not tested".replace("%", " %")
        if self.test is not None:
            return f"{self.test.rows} labels tested by their {self.test.kind} loss"
        unfit = "no loss fitted its labels and answers, begun anew; " if self.unfit else ""
        return f"{unfit}reference: {len(self.gathered)} of {self.rules.reference} labels"

    def update(self, rows: Iterable[Mature]) -> Concept:
        """Return it after more matured predictions of this model, in the order of arrival, each once."""
        filling = _Filling(self)
        for row in rows:
            filling.add(row)
        return filling.filled()

    def restarted(self) -> Concept:
        """Return it with a new epoch of the test: all evidence is gone, the reference is the same."""
        return self if self.test is None else replace(self, test=self.test.restarted())

    def rebased(self, rows: int | None = None) -> Concept:
        """Return it with the newest losses as reference (see `LossTest.rebased`).

        Raises:
            InvalidValue: there are too few.
        """
        return self if self.test is None else replace(self, test=self.test.rebased(rows))

    def to_plain(self) -> dict[str, Any]:
        """Return it as what JSON can say; the rules are not in it."""
        return {
            "test": None if self.test is None else b64encode(self.test.to_bytes()).decode(),
            **{name: getattr(self, name) for name in _COUNTS},
            "recent": b64encode(self.recent).decode(),
            "sight": {**asdict(self.sight), "classes": sorted(self.sight.classes)},
            "gathered": self.gathered,
            "unfit": self.unfit,
        }

    @classmethod
    def from_plain(cls, rules: ConceptRules, plain: Mapping[str, Any]) -> Concept:
        """Return what `to_plain` told.

        A reference of another length goes on; another `loss` or `alpha` begins the test anew.

        Raises:
            InvalidValue: it is damaged.
        """
        try:
            test = None if plain["test"] is None else LossTest.from_bytes(b64decode(plain["test"]))
            sight, gathered = plain["sight"], tuple(tuple(row) for row in plain["gathered"])
            classes = frozenset(sight["classes"])
            seen = Sight(**{**sight, "usable": tuple(sight["usable"]), "classes": classes})
            recent = b64decode(plain["recent"], validate=True)
            found = {name: int(plain[name]) for name in _COUNTS}
            told = cls(
                rules, test, **found, recent=recent, sight=seen, gathered=gathered, unfit=plain["unfit"]
            )
        except InvalidValue:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidValue(f"{_DAMAGED} ({type(error).__name__}): begin anew") from error
        if len(recent) > WINDOW or set(recent) - {0, 1} or any(len(row) != len(KINDS) for row in gathered):
            raise InvalidValue(f"{_DAMAGED}: its parts do not fit together; begin anew")
        if test is not None and (test.alpha != rules.alpha or rules.loss not in (AUTO, test.kind)):
            return replace(told, test=None, sight=Sight(), gathered=())
        return told


class _Filling:
    """A `Concept` to which predictions are being added."""

    def __init__(self, concept: Concept) -> None:
        self._concept, self._test = concept, concept.test
        self._counts = {name: getattr(concept, name) for name in _COUNTS}
        self._recent, self._ones = bytearray(concept.recent), sum(concept.recent)
        self._sight, self._gathered, self._unfit = concept.sight, list(concept.gathered), concept.unfit
        self._losses: list[float] = []

    def add(self, row: Mature) -> None:
        self._counts["matured"] += 1
        self._recent.append(row.labelled)
        self._ones += row.labelled
        if len(self._recent) > WINDOW:
            self._ones -= self._recent.pop(0)
        if not row.labelled:
            return
        self._counts["labelled"] += 1
        least = self._concept.rules.min_coverage * len(self._recent)
        if len(self._recent) >= FEW and self._ones < least:
            self._counts["unfed"] += 1
        elif self._test is None:
            self._gather(row)
        elif (loss := loss_of(self._test.kind, row.label, row.output)) is None:
            self._counts["odd"] += 1
        else:
            self._losses.append(loss)

    def filled(self) -> Concept:
        test = self._test.update(self._losses) if self._test is not None and self._losses else self._test
        return replace(
            self._concept, test=test, **self._counts, recent=bytes(self._recent), sight=self._sight,
            gathered=tuple(self._gathered), unfit=self._unfit,
        )  # fmt: skip

    def _gather(self, row: Mature) -> None:
        rules, losses = self._concept.rules, losses_of(row.label, row.output)
        if rules.loss != AUTO:
            pairs = zip(KINDS, losses, strict=True)
            losses = tuple(loss if kind == rules.loss else None for kind, loss in pairs)
        if not any(loss is not None for loss in losses):
            self._counts["odd"] += 1
            return
        self._sight = self._sight.plus(row.label, row.output)
        self._gathered.append(losses)
        if len(self._gathered) < rules.reference:
            return
        kind = self._sight.kind if rules.loss == AUTO else rules.loss
        found = [] if kind is None else [one[KINDS.index(kind)] for one in self._gathered]
        known = [loss for loss in found if loss is not None]
        if kind is not None and len(known) >= LEAST:
            self._test = LossTest.fit(known, kind=kind, alpha=rules.alpha, seed=rules.seed)
        else:
            self._unfit += 1
        self._sight, self._gathered = Sight(), []


@dataclass(frozen=True, slots=True, eq=False)
class ConceptBoard:
    """The models of one endpoint, each with what its labels say. Immutable; `update` returns the next one.

    Feed it with what `store.ledger_matured.matured` reads, whose predictions are older than the maturity age,
    come once, and have no labels of cases that were asked about because the model was unsure. Keep it in one
    step with the place that the read ended at.

    Attributes:
        rules: how models are tested.
        endpoint: whose predictions are looked at; None: those of all.
        concepts: the models by their variant and digest, those that were fed last at the end; 16 at most.
        losses: by digest the losses of models on labelled data, as a reference's file has them.

    >>> row = Mature("id", 0.0, 1, "predict", "v1", labelled=True, label=1, output=1)
    >>> board = ConceptBoard(ConceptRules()).update([row] * 600, lambda row: "sha256:1")
    >>> board.concepts["v1", "sha256:1"].words
    '100 labels tested by their zero_one loss'
    """

    rules: ConceptRules
    endpoint: str | None = None
    concepts: Mapping[tuple[str, str], Concept] = field(default_factory=dict)
    losses: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def update(self, rows: Iterable[Mature], digest_of: Callable[[Mature], str]) -> ConceptBoard:
        """Return it after more matured predictions.

        Args:
            rows: the predictions, in the order of arrival, each once.
            digest_of: which model of the variant made a prediction; another one is tested by itself.
        """
        apart: dict[tuple[str, str], list[Mature]] = {}
        for row in rows:
            if self.endpoint in (None, row.endpoint):
                apart.setdefault((row.variant, digest_of(row)), []).append(row)
        concepts = dict(self.concepts)
        for model, its in apart.items():
            if (known := concepts.pop(model, None)) is None:
                known = Concept.begun(self.rules, self.losses.get(model[1], ()))
            concepts[model] = known.update(its)
        return replace(self, concepts=dict(list(concepts.items())[-MODELS:]))

    def with_concept(self, model: tuple[str, str], concept: Concept) -> ConceptBoard:
        """Return it with another state of one model: one that was acknowledged, or has another reference."""
        return replace(self, concepts={**self.concepts, model: concept})

    def to_bytes(self) -> bytes:
        """Return it as what can be stored; the rules are not in it."""
        models = [[*model, concept.to_plain()] for model, concept in self.concepts.items()]
        return json.dumps({"version": VERSION, "models": models}, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        rules: ConceptRules,
        endpoint: str | None = None,
        losses: Mapping[str, tuple[float, ...]] | None = None,
    ) -> ConceptBoard:
        """Return what `to_bytes` stored; the other arguments are those of the board.

        Raises:
            InvalidValue: it is damaged, or of another version.
        """
        try:
            plain = json.loads(data)
            version = plain["version"]
            models = {} if version != VERSION else {
                (str(variant), str(digest)): Concept.from_plain(rules, told)
                for variant, digest, told in plain["models"]
            }  # fmt: skip
        except InvalidValue:
            raise
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise InvalidValue(f"{_DAMAGED} ({type(error).__name__}): begin anew") from error
        if version != VERSION:
            raise InvalidValue(
                f"this of concept drift was stored as version {version!r}, not {VERSION}: begin anew"
            )
        return cls(rules, endpoint, models, losses or {})
