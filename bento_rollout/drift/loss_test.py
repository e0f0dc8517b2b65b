"""`LossTest`: has the loss of a model risen? With a promise on how often it says so when it has not."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..analysis.arithmetic import count, finite
from ..errors import InvalidValue
from .counts import conformal_p
from .drift_test import FeatureEvidence
from .effect import psi
from .engine import LOSS_BETS, Wealth
from .frames import opened, packed, wealth_arrays, wealth_of
from .losses import KINDS
from .uniforms import uniforms

__all__ = ["LEAST", "LossTest"]

LEAST = 100
"""Reference losses that are needed."""

RECENT = 2000
"""Losses that are kept, the newest."""

LEVELS = (
    0.125, 0.25, 0.375, 0.5, 0.625, 0.7, 0.75, 0.8, 0.85, 0.9, 0.9375, 0.96, 0.975, 0.985, 0.9925,
)  # fmt: skip
"""Quantiles between which bins lie: finer where losses are high, as only a rise is looked for."""

_KIND = "test of a loss"

EVERY = 4
"""One in so many reference losses says where bins end; the others say how many lie in each."""


@dataclass(frozen=True, slots=True, eq=False)
class LossTest:
    """The test of `DriftTest` on one loss, of which only a rise is looked for. Immutable.

    While losses come like those of the reference, in whatever order, the chance that `alarm` is ever True
    is at most ``alpha``, however often one looks; the loss may have any distribution. Losses are ranked
    among the reference *and all before them*: few reference losses make it slower, and not wrong. What it
    assumes is that losses are exchangeable: rows that repeat, or come in cycles, are drift to it.

    Begin with `fit`; `update` returns the next one. The same losses in any split give the same numbers.

    Attributes:
        kind: what the losses are (see `loss_of`).
        alpha: the chance of a false alarm, ever.
        seed: of the numbers that break ties.
        edges: where bins end; a loss that is equal to one lies below it.
        reference: how many losses of the reference lie in each bin.
        reference_mean: the mean loss of the reference.
        counts: how many losses lie in each bin, those of the reference and all so far.
        wealth: what bets have won so far.
        epoch: how often it began anew.
        refused: how many values were no loss: not finite, or, of 0/1 losses, neither.
        recent: the newest losses, at most 2 000, those before an epoch among them.

    >>> test = LossTest.fit([0.0] * 190 + [1.0] * 10, kind="zero_one")
    >>> test.update([0.0] * 100).alarm, test.update([0.0, 1.0] * 100).alarm
    (False, True)
    """

    kind: str
    alpha: float
    seed: int
    edges: NDArray[np.float64]
    reference: NDArray[np.int64]
    reference_mean: float
    counts: NDArray[np.int64]
    wealth: Wealth
    epoch: int = 0
    refused: int = 0
    recent: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @classmethod
    def fit(
        cls, losses: Iterable[float | None], *, kind: str, alpha: float = 0.01, seed: int = 0
    ) -> LossTest:
        """Return the test before the first loss.

        Args:
            losses: the reference: of the same model, from when it was right as often as it should be.
            kind: one of ``zero_one``, ``log``, ``absolute`` and ``pinball``.
            alpha: the chance of a false alarm, ever; above 0, at most 0.5.
            seed: of the numbers that break ties, from 0.

        Raises:
            InvalidValue: another kind, another alpha, or fewer than 100 losses of that kind.
        """
        if kind not in KINDS:
            raise InvalidValue(f"kind {kind!r} is no loss: choose one of {', '.join(KINDS)}")
        if not 0 < finite("alpha", alpha) <= 0.5:  # noqa: PLR2004 - said in the message
            raise InvalidValue(f"alpha is {alpha!r}: a chance above 0 and at most 0.5 is needed")
        known = _losses(losses)
        known = known[_usable(kind, known)]
        if len(known) < LEAST:
            raise InvalidValue(f"{len(known)} reference losses: at least {LEAST} are needed, better 500")
        edges, counted = np.array([0.5]), known
        if kind != "zero_one":
            apart = np.arange(len(known)) % EVERY == 0
            edges, counted = np.unique(np.quantile(known[apart], LEVELS)), known[~apart]
        return cls._begun(kind, alpha, count("seed", seed), edges, counted, epoch=0)

    @classmethod
    def _begun(
        cls,
        kind: str,
        alpha: float,
        seed: int,
        edges: NDArray[np.float64],
        losses: NDArray[np.float64],
        *,
        epoch: int,
    ) -> LossTest:
        counts = _counted(edges, losses)
        wealth = Wealth.start(1, LOSS_BETS, np.array([len(counts) <= 2]))  # noqa: PLR2004 - two values
        return cls(kind, alpha, seed, edges, counts, float(losses.mean()), counts, wealth, epoch)

    def update(self, losses: Iterable[float | None]) -> LossTest:
        """Return the test after more losses, in the order in which they came; None is counted as refused."""
        new = _losses(losses)
        usable = _usable(self.kind, new)
        refused = self.refused + int((~usable).sum())
        new = new[usable]
        if not len(new):
            return replace(self, refused=refused)
        bins = _binned(self.edges, new)[:, None]
        u = uniforms(self.seed, self.rows, len(new), 1, self.epoch)
        p, counts = conformal_p(self.counts[None], bins, u)
        recent = np.concatenate([self.recent, new])[-RECENT:]
        return replace(self, counts=counts[0], wealth=self.wealth.advance(p), refused=refused, recent=recent)

    @property
    def rows(self) -> int:
        """How many losses were looked at in this epoch."""
        return self.wealth.rows

    @property
    def alarm(self) -> bool:
        """Whether the evidence was ever ``1/alpha`` or more in this epoch: the loss has risen."""
        return self.log_peak >= -math.log(self.alpha)

    @property
    def log_peak(self) -> float:
        """The largest that `log_evidence` ever was in this epoch."""
        return float(self.wealth.log_peak[0])

    @property
    def log_evidence(self) -> float:
        """The natural logarithm of the evidence now; 0 says nothing, below 0 speaks against a rise."""
        return float(self.wealth.log_evidence[0])

    @property
    def since_row(self) -> int:
        """At which loss of this epoch, counted from 0, the rise seems to have begun."""
        return int(self.wealth.since[0])

    @property
    def recent_mean(self) -> float | None:
        """The mean loss since `since_row`, of the last 2 000 at most; None: there was none yet."""
        seen = self._since()
        return float(seen.mean()) if len(seen) else None

    @property
    def features(self) -> tuple[FeatureEvidence, ...]:
        """The loss as `DriftTest.features` tells of a feature: of the losses since `since_row`."""
        recent = _counted(self.edges, self._since())
        shown = [f"{edge:.4g}" for edge in self.edges]
        between = [f"{low} to {high}" for low, high in pairwise(shown)]
        labels = (f"up to {shown[0]}", *between, f"above {shown[-1]}")
        return (
            FeatureEvidence(
                name=f"{self.kind} loss",
                log_evidence=self.log_evidence,
                log_peak=self.log_peak,
                direction=self.wealth.direction[0],
                psi=psi(self.reference, recent),
                since_row=self.since_row,
                kind="numeric",
                labels=("right", "wrong") if self.kind == "zero_one" else labels,
                reference_histogram=tuple(self.reference.tolist()),
                recent_histogram=tuple(recent.tolist()),
                rows=int(recent.sum()),
            ),
        )

    def restarted(self) -> LossTest:
        """Return a new epoch against the same reference: all evidence is gone."""
        wealth = Wealth.start(1, self.wealth.bets, self.wealth.single)
        return replace(self, counts=self.reference, wealth=wealth, epoch=self.epoch + 1, refused=0)

    def rebased(self, rows: int | None = None) -> LossTest:
        """Return a new epoch whose reference are the newest losses; bins end where they did.

        Args:
            rows: how many of them; None: all that are kept, at most 2 000.

        Raises:
            InvalidValue: there are fewer, or fewer than 100.
        """
        wanted = len(self.recent) if rows is None else rows
        if not LEAST <= wanted <= len(self.recent):
            raise InvalidValue(
                f"{wanted} losses cannot be the reference: {LEAST} to {RECENT} are needed, "
                f"and {len(self.recent)} are kept"
            )
        losses = self.recent[-wanted:]
        begun = self._begun(self.kind, self.alpha, self.seed, self.edges, losses, epoch=self.epoch + 1)
        return replace(begun, recent=self.recent)

    def _since(self) -> NDArray[np.float64]:
        """Return the losses of this epoch since the rise seems to have begun, as far as they are kept."""
        return self.recent[-(self.rows - self.since_row) :] if self.rows else self.recent[:0]

    def to_bytes(self) -> bytes:
        """Return it as bytes that `from_bytes` reads, and that give back the same numbers to the bit."""
        names = ("kind", "alpha", "seed", "reference_mean", "epoch", "refused", "rows")
        arrays = {name: getattr(self, name) for name in ("edges", "reference", "counts", "recent")}
        return packed(
            _KIND, {name: getattr(self, name) for name in names}, arrays | wealth_arrays(self.wealth)
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> LossTest:
        """Return a stored test.

        Raises:
            InvalidValue: bytes of another version, of other bets, or that are damaged.
        """
        fields, arrays = opened(data, _KIND)
        single = np.array([len(arrays["counts"]) <= 2])  # noqa: PLR2004 - two values
        wealth = wealth_of(arrays, fields.pop("rows"), LOSS_BETS, single)
        parts: dict[str, Any] = {name: arrays[name] for name in ("edges", "reference", "counts", "recent")}
        return cls(**fields, **parts, wealth=wealth)


def _losses(values: Iterable[float | None]) -> NDArray[np.float64]:
    """Return losses as numbers; None becomes NaN."""
    given = values if isinstance(values, np.ndarray) else list(values)
    return np.asarray(given, dtype=np.float64).ravel()


def _usable(kind: str, losses: NDArray[np.float64]) -> NDArray[np.bool_]:
    if kind == "zero_one":
        return np.asarray((losses == 0) | (losses == 1))
    return np.isfinite(losses)


def _binned(edges: NDArray[np.float64], losses: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.searchsorted(edges, losses, side="left").astype(np.uint8)


def _counted(edges: NDArray[np.float64], losses: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.bincount(_binned(edges, losses), minlength=len(edges) + 1).astype(np.int64)
