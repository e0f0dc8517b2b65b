"""The test of data drift: rows against a reference, one row at a time, looked at as often as one likes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from ..analysis.arithmetic import finite
from ..errors import InvalidValue
from .counts import conformal_p, counts_of, strata_of
from .effect import expected, psi
from .engine import DATA_BETS, Wealth
from .features import Kind
from .ranking import evidence_of, order_of
from .reference import Reference
from .schema import SchemaAlarm, together
from .uniforms import uniforms

__all__ = ["KEPT", "DriftTest", "FeatureEvidence"]

KEPT = 2000
"""Rows whose bins are kept, for histograms, the size of a change, and a new reference."""

_LEAST_ROWS = 100
"""Rows that the size of a change is taken from, at least; and rows of a new reference."""


@dataclass(frozen=True, slots=True)
class FeatureEvidence:
    """What speaks for a change of one feature.

    Attributes:
        name: of the feature.
        log_evidence: the natural log of its weighted e-value, now: at ``ln(1/alpha)`` it alone is an alarm.
        log_peak: the largest that this ever was in this epoch.
        direction: where its values seem to go: ``higher``, ``lower``, ``wider`` or ``narrower``.
        psi: how large the change is on the rows since it seems to have begun, corrected for chance.
        since_row: the row, counted from 0 in this epoch, at which it seems to have begun.
        kind: ``numeric``, ``category``, ``text`` or ``embedding``.
        labels: what each bin holds, in words.
        reference_histogram: how many rows of the reference lie in each bin; with strata, weighted as the
            rows that `psi` is of are spread over them.
        recent_histogram: how many of the rows that `psi` is of.
        rows: how many rows that are.
    """

    name: str
    log_evidence: float
    log_peak: float
    direction: str
    psi: float
    since_row: int
    kind: Kind
    labels: tuple[str, ...]
    reference_histogram: tuple[int, ...]
    recent_histogram: tuple[int, ...]
    rows: int


@dataclass(frozen=True, slots=True, eq=False)
class DriftTest:
    """Whether rows still come from where the reference came from; frozen: `update` returns the next one.

    The chance that `alarm` is ever set while the rows are exchangeable with the reference is at most alpha,
    however many rows come and however often one looks (Ville's inequality). Rows are ranked by conformal
    p-values (Vovk, Nouretdinov, Gammerman: arXiv 2006.02329), bets on them make an e-value for each feature,
    and the features share alpha by their weights, which holds whatever depends on what.

    Begin with `fit`, or with `of` where a reference is there already.

    Attributes:
        reference: what rows are compared with.
        alpha: the chance of a false alarm, ever.
        seed: of the numbers that break ties; the same seed and rows give the same evidence.
        epoch: how often the test began anew.
        schema: in which ways rows were built otherwise, of all rows of the epoch.
        refused: how many values were infinite.

    >>> draw = np.random.default_rng(0).normal
    >>> test = DriftTest.fit(draw(size=(1000, 3)), alpha=0.01, seed=0)
    >>> test.update(draw(size=(500, 3))).alarm
    False
    >>> changed = test.update(draw(loc=(0, 1, 0), size=(500, 3)))
    >>> changed.alarm, changed.features[0].name, changed.features[0].direction
    (True, 'feature_1', 'higher')
    """

    reference: Reference
    alpha: float
    seed: int
    epoch: int
    base: NDArray[np.int64]
    log_weights: NDArray[np.float64]
    wealth: Wealth
    counts: NDArray[np.int64]
    recent: NDArray[np.uint8]
    recent_strata: NDArray[np.uint16]
    schema: tuple[SchemaAlarm, ...] = ()
    refused: int = 0

    @classmethod
    def fit(
        cls,
        reference: object,
        *,
        alpha: float = 0.01,
        seed: int = 0,
        kinds: Mapping[str, Kind] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> DriftTest:
        """Return a test against data: names and kinds of features are found.

        Args:
            reference: rows x features: an array, a frame, a mapping of columns or a list of mappings.
            alpha: the chance of a false alarm, ever; above 0, at most 0.5.
            seed: of all that is drawn.
            kinds: the kind of some columns, where the data does not tell.
            weights: how alpha is shared, by feature; equally where nothing is said. They need not sum to 1.

        Raises:
            InvalidValue: a reference that nothing can be tested against, or a setting that cannot be.
        """
        return cls.of(
            Reference.fit(reference, kinds=kinds, seed=seed), alpha=alpha, seed=seed, weights=weights
        )

    @classmethod
    def of(
        cls,
        reference: Reference,
        *,
        alpha: float = 0.01,
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
        epoch: int = 0,
        base: NDArray[np.int64] | None = None,
    ) -> DriftTest:
        """Return a test against a reference that is there already.

        Args:
            reference: its bins, and where nothing else is said its counts.
            alpha: as in `fit`.
            seed: as in `fit`.
            weights: as in `fit`.
            epoch: how often the test began anew.
            base: strata x tested features x bins: other counts than those of the reference, like a segment's.
        """
        if not 0.0 < finite("alpha", alpha) <= 0.5:  # noqa: PLR2004 - half
            raise InvalidValue(f"alpha is {alpha!r}; a number above 0 and at most 0.5 is needed")
        if not isinstance(seed, Integral) or not 0 <= seed < 2**64:
            raise InvalidValue(f"seed is {seed!r}; a whole number from 0 to 2**64 - 1 is needed")
        lanes = len(reference.tested)
        base = reference.stratified if base is None else base
        return cls(
            reference=reference,
            alpha=float(alpha),
            seed=int(seed),
            epoch=epoch,
            base=base,
            log_weights=_log_weights(reference, weights or {}),
            wealth=Wealth.start(lanes, DATA_BETS, reference.single),
            counts=base,
            recent=np.empty((0, lanes), dtype=np.uint8),
            recent_strata=np.empty(0, dtype=np.uint16),
        )

    @property
    def rows(self) -> int:
        """How many rows of this epoch were looked at."""
        return self.wealth.rows

    @property
    def log_evidence(self) -> float:
        """The natural log of the largest weighted e-value, now."""
        return float((self.log_weights + self.wealth.log_evidence).max())

    @property
    def log_peak(self) -> float:
        """The largest that `log_evidence` ever was in this epoch."""
        return float((self.log_weights + self.wealth.log_peak).max())

    @property
    def log_mean(self) -> float:
        """The natural log of the weighted mean of all e-values: to be shown, never to alarm on."""
        logs = self.log_weights + self.wealth.log_evidence
        return float(logs.max() + np.log(np.exp(logs - logs.max()).sum()))

    @property
    def alarm(self) -> bool:
        """Whether it is certain that something changed: ever since the evidence was once enough."""
        return self.log_peak >= -math.log(self.alpha)

    @property
    def features(self) -> tuple[FeatureEvidence, ...]:
        """The evidence of each tested feature, most evidence first.

        While one is certain by itself, those that moved with it may not be yet. Behind all that are certain
        therefore come those for which the rows since the first one's `since_row` speak by themselves (what
        the bets win on these rows, times the feature's weight, is above 1/2), most of that first; then the
        others by their `log_evidence`. No alarm depends on this order.
        """
        return self._evidence(_LEAST_ROWS)

    def acting(self, psi: float = 0.1, min_rows: int = _LEAST_ROWS) -> tuple[FeatureEvidence, ...]:
        """Return the features whose change was ever certain by itself, and is large now.

        Args:
            psi: how large a change must be.
            min_rows: how many rows its size is taken from, at least: those since the change, and some before
                it where these are fewer.
        """
        enough = -math.log(self.alpha)
        if self.rows < min_rows:
            return ()
        return tuple(f for f in self._evidence(min_rows) if f.log_peak >= enough and f.psi >= psi)

    def update(self, rows: object, strata: NDArray[np.integer] | None = None) -> DriftTest:
        """Return the test after more rows.

        Args:
            rows: an array, a frame, a mapping of columns or a list of mappings.
            strata: of each row, from 0: it is ranked among those of its own.

        Raises:
            InvalidValue: what are no rows, or rows that share no feature with the reference.
        """
        encoded = self.reference.encode(rows)
        after = self.update_encoded(encoded.bins, strata)
        if not encoded.alarms:
            return after
        return replace(
            after,
            schema=together((*self.schema, *encoded.alarms)),
            refused=self.refused + encoded.refused,
        )

    def update_encoded(self, bins: NDArray[np.uint8], strata: NDArray[np.integer] | None = None) -> DriftTest:
        """Return the test after rows that `Reference.encode` made bins of."""
        lanes = len(self.log_weights)
        if bins.ndim != 2 or bins.shape[1] != lanes or bins.dtype != np.uint8:  # noqa: PLR2004 - rows x features
            raise InvalidValue(
                f"bins are bytes, rows x {lanes} features; these are {bins.dtype} of shape {bins.shape}"
            )
        if len(bins) and int(bins.max()) >= self.counts.shape[2]:
            raise InvalidValue(
                f"bin {int(bins.max())} is there; the reference has {self.counts.shape[2]} bins"
            )
        of = None if strata is None else strata_of(strata, len(bins))
        counts = self.counts if of is None else _with_strata(self.counts, of)
        u = uniforms(self.seed, self.rows, len(bins), lanes, self.epoch)
        p, counts = conformal_p(counts, bins, u, of)
        own = np.zeros(len(bins), dtype=np.uint16) if of is None else of.astype(np.uint16)
        return replace(
            self,
            wealth=self.wealth.advance(p),
            counts=counts,
            recent=np.concatenate((self.recent, bins[-KEPT:]))[-KEPT:],
            recent_strata=np.concatenate((self.recent_strata, own[-KEPT:]))[-KEPT:],
        )

    def restarted(self) -> DriftTest:
        """Return the test at the start of a new epoch, against the same reference."""
        return self._anew(self.base)

    def rebased(self, rows: int | None = None) -> DriftTest:
        """Return the test at the start of a new epoch, against its own recent rows in the same bins.

        Args:
            rows: how many of the last rows; all that are kept where nothing is said.

        Raises:
            InvalidValue: fewer rows than a reference needs, or more than are kept.
        """
        wanted = len(self.recent) if rows is None else rows
        if not _LEAST_ROWS <= wanted <= len(self.recent):
            raise InvalidValue(
                f"a new reference of {wanted} recent rows is asked for; at least {_LEAST_ROWS} are needed,"
                f" and {len(self.recent)} are kept (of at most {KEPT})"
            )
        of = self.recent_strata[-wanted:].astype(np.intp)
        return self._anew(counts_of(self.recent[-wanted:], of, int(of.max()) + 1, self.base.shape[2]))

    def rebased_on(self, bins: NDArray[np.uint8]) -> DriftTest:
        """Return the test at the start of a new epoch, against other rows in the same bins.

        Args:
            bins: the rows, as `Reference.encode` gives them.

        Raises:
            InvalidValue: fewer rows than a reference needs; or rows are told apart by strata, of which these
                say nothing.
        """
        if len(self.base) > 1:
            raise InvalidValue("these rows have no strata (stratify_by) to be compared in: use recent rows")
        strata = np.zeros(len(bins), dtype=np.uint16)
        again = replace(self, recent=bins, recent_strata=strata).rebased(len(bins))
        return replace(again, recent=bins[-KEPT:], recent_strata=strata[-KEPT:])

    def to_bytes(self) -> bytes:
        """Return the test as bytes that `from_bytes` reads; the reference is stored apart."""
        from .drift_form import bytes_of

        return bytes_of(self)

    @classmethod
    def from_bytes(cls, data: bytes, reference: Reference) -> DriftTest:
        """Return a stored test.

        Raises:
            InvalidValue: bytes of another version, of another reference, or that are damaged.
        """
        from .drift_form import drift_test_of

        return drift_test_of(data, reference)

    def _anew(self, base: NDArray[np.int64]) -> DriftTest:
        return replace(
            self,
            epoch=self.epoch + 1,
            base=base,
            wealth=Wealth.start(len(self.log_weights), DATA_BETS, self.reference.single),
            counts=base,
            schema=(),
            refused=0,
        )

    def _evidence(self, least: int) -> tuple[FeatureEvidence, ...]:
        logs = self.log_weights + self.wealth.log_evidence
        peaks = self.log_weights + self.wealth.log_peak
        since, directions, tested = self.wealth.since, self.wealth.direction, self.reference.tested
        found = []
        for place in self._order(logs, since).tolist():
            feature = tested[place]
            assert feature.bins is not None
            size, first = feature.bins.size, self._first(max(self.rows - int(since[place]), least))
            before, usable = expected(self.base[:, place, :size], self.recent_strata[first:])
            recent = np.bincount(self.recent[first:, place][usable], minlength=size)[:size]
            found.append(
                FeatureEvidence(
                    name=feature.name,
                    log_evidence=float(logs[place]),
                    log_peak=float(peaks[place]),
                    direction=directions[place],
                    psi=psi(before, recent),
                    since_row=int(since[place]),
                    kind=feature.kind,
                    labels=feature.bins.labels,
                    reference_histogram=tuple(np.rint(before).astype(int).tolist()),
                    recent_histogram=tuple(recent.tolist()),
                    rows=int(usable.sum()),
                )
            )
        return tuple(found)

    def _order(self, logs: NDArray[np.float64], since: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return the places of the features, most evidence first (see `features`)."""
        enough, leader = -math.log(self.alpha), int(np.argmax(logs))
        if logs[leader] < enough:  # as `order_of` would have it, without what that takes
            return np.argsort(-logs, kind="stable")
        first = self._first(self.rows - int(since[leader]))
        rows = self.recent[first:], self.recent_strata[first:]
        return order_of(logs, self.log_weights + evidence_of(self.counts, *rows, self.wealth.single), enough)

    def _first(self, rows: int) -> int:
        """Return the place in `recent` of the first of the last so many rows of this epoch."""
        return len(self.recent) - min(len(self.recent), self.rows, rows)


def _log_weights(reference: Reference, weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Return the logs of how alpha is shared; they sum to 1."""
    names = [feature.name for feature in reference.tested]
    for name, weight in weights.items():
        if name not in names:
            raise InvalidValue(f"weights names {name!r}; the reference tests no such feature")
        if finite(f"the weight of {name!r}", weight) <= 0:
            raise InvalidValue(f"the weight of {name!r} is {weight!r}; a finite number above 0 is needed")
    given = np.array([float(weights.get(name, 1.0)) for name in names])
    return np.asarray(np.log(given / given.sum()))


def _with_strata(counts: NDArray[np.int64], of: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return the counts with room for each stratum; one that the reference has not begins empty."""
    more = (int(of.max()) + 1 if len(of) else 0) - len(counts)
    return (
        np.concatenate((counts, np.zeros((more, *counts.shape[1:]), dtype=np.int64))) if more > 0 else counts
    )
