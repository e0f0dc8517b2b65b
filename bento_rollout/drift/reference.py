"""What rows are compared with: bins and counts of data that a model was built for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidValue
from .bins import BINS, CategoryBins
from .counts import counts_of, strata_of
from .embedding import Embedding
from .encoding import Encoded, Encoder, Segments, matched
from .features import Column, Feature, Kind, columns_of, is_matrix
from .fitting import LEAST_ROWS, dependence_of, features_of, split

__all__ = ["Reference"]

_FEW_ROWS = 1000
_DEPENDENT = 0.2
_MOST_SEGMENTS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The data that rows are compared with, as bins and counts: no row can be read from it.

    Begin with `fit`; `to_json` and `from_json` store it.

    Attributes:
        features: what is tested, and what is skipped and why.
        stratified: strata x tested features x bins: how many rows lie where. One stratum where none is said.
        rows: how many rows are counted: those that gave the bins their edges are not among them.
        seed: of the split and of projections.
        columns: the names of the columns in their order.
        embeddings: where vectors lie, by column.
        dependence: by numeric feature, how much a row's rank says of the next one's (Spearman's, lag 1).
        warnings: what to know before one trusts it, in words.
        model: the digest or tag of the model that it belongs to, if that was said.
        losses: losses of that model on labelled data of the reference, if there were any.
        segments: the columns whose values have tests of their own, and how many rows of each lie where.

    >>> reference = Reference.fit(np.random.default_rng(0).normal(size=(1000, 2)))
    >>> [feature.name for feature in reference.tested], reference.rows
    (['feature_0', 'feature_1'], 750)
    """

    features: tuple[Feature, ...]
    stratified: NDArray[np.int64]
    rows: int
    seed: int
    columns: tuple[str, ...]
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)
    dependence: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    model: str = ""
    losses: tuple[float, ...] = ()
    segments: tuple[Segments, ...] = ()
    _encoder: Encoder = field(init=False, repr=False)
    _places: list[int] | None = field(init=False, repr=False)
    _digest: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        encoder = Encoder.of(self.features, self.embeddings, self.segments)
        object.__setattr__(self, "_encoder", encoder)
        object.__setattr__(self, "_places", encoder.places(self.columns))

    @classmethod
    def fit(
        cls,
        data: object,
        *,
        kinds: Mapping[str, Kind] | None = None,
        bins: int = BINS,
        seed: int = 0,
        strata: NDArray[np.integer] | None = None,
        segments: Sequence[str] = (),
        edges_share: float = 0.25,
    ) -> Reference:
        """Return the reference of data: names and kinds of features are found.

        Args:
            data: an array of rows x features, a frame, a mapping of columns or a list of mappings.
            kinds: of some columns, where the data does not tell: ``numeric``, ``category``, ``text``,
                ``embedding``.
            bins: of a numeric feature, at most.
            seed: of which rows give the edges, and of projections.
            strata: of each row, from 0: rows will be compared with those of their own.
            segments: columns whose values get tests of their own: at most three, and not with strata.
            edges_share: the part of the rows that gives the edges, and is not counted.

        Raises:
            InvalidValue: too few rows, nothing that can be tested, two columns of one name.
        """
        columns = columns_of(data)
        total = len(next(iter(columns.values()), ()))
        if not total:
            raise InvalidValue("the reference has no rows; give it rows that the model was built for")
        if not 2 <= bins <= 250:  # noqa: PLR2004 - a bin's number is one byte
            raise InvalidValue(f"bins is {bins!r}; a number from 2 to 250 is needed")
        if not 0.0 < edges_share < 1.0:
            raise InvalidValue(f"edges_share is {edges_share!r}; a number above 0 and below 1 is needed")
        edges, rest = split(total, edges_share, seed)
        if len(rest) < LEAST_ROWS:
            raise InvalidValue(
                f"the reference has {total} rows, of which {len(rest)} are left to compare with when the"
                f" others have given the edges of bins; at least {LEAST_ROWS} must be left"
            )
        features, embeddings = features_of(columns, edges, kinds or {}, bins, seed)
        if all(feature.skipped for feature in features):
            why = ", ".join(f"{feature.name} ({feature.skipped})" for feature in features[:5])
            raise InvalidValue(f"nothing of the reference can be tested: {why}")
        dependence = dependence_of(columns, features)
        counted = Encoder.of(features, embeddings).encode(
            {name: column[rest] for name, column in columns.items()}
        )
        tested = [feature for feature in features if not feature.skipped]
        size = max(feature.bins.size for feature in tested if feature.bins is not None)
        parts = _segments(segments, columns, rest, counted.bins, size, stratified=strata is not None)
        of = np.zeros(len(rest), dtype=np.intp) if strata is None else strata_of(strata, total)[rest]
        return cls(
            features=features,
            stratified=counts_of(counted.bins, of, int(of.max()) + 1, size),
            rows=len(rest),
            seed=seed,
            columns=tuple(columns),
            embeddings=embeddings,
            dependence=dependence,
            warnings=_warnings(total, dependence),
            segments=parts,
        )

    @property
    def tested(self) -> tuple[Feature, ...]:
        """The features that are tested, in the order of the encoded bins."""
        return self._encoder.tested

    @property
    def counts(self) -> NDArray[np.int64]:
        """Tested features x bins: how many rows lie where, over all strata."""
        return np.asarray(self.stratified.sum(axis=0))

    @property
    def single(self) -> NDArray[np.bool_]:
        """Of each tested feature, whether it has only two values."""
        return np.array([feature.bins is not None and feature.bins.single for feature in self.tested])

    @property
    def digest(self) -> str:
        """Sixteen hex digits that another reference does not have; found once, for it hashes all counts."""
        if not self._digest:
            from .reference_form import digest_of

            object.__setattr__(self, "_digest", digest_of(self))
        return self._digest

    def encode(self, rows: object) -> Encoded:
        """Return the bins of rows, and in which ways they are built otherwise.

        Args:
            rows: as in `fit`; columns without names are matched by their place where there are as many.

        Raises:
            InvalidValue: what are no rows, and rows that share no feature with the reference.
        """
        if self._places is not None and is_matrix(rows) and rows.shape[1] == len(self.columns):
            return self._encoder.encode_numbers(rows[:, self._places].astype(np.float64))
        columns, new = matched(columns_of(rows), self.columns)
        found = self._encoder.encode(columns)
        return replace(found, alarms=(*found.alarms, *new))

    def of_model(self, model: str, losses: tuple[float, ...] = ()) -> Reference:
        """Return the same reference with the model that it belongs to, and its losses on labelled data."""
        return replace(self, model=model, losses=losses)

    def to_json(self) -> str:
        """Return the reference as text that `from_json` reads."""
        from .reference_form import text_of

        return text_of(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Reference:
        """Return a stored reference.

        Raises:
            InvalidValue: text of another version, or that is damaged.
        """
        from .reference_form import reference_of

        return reference_of(text)


def _segments(
    names: Sequence[str],
    columns: Mapping[str, Column],
    rest: NDArray[np.intp],
    bins: NDArray[np.uint8],
    size: int,
    *,
    stratified: bool,
) -> tuple[Segments, ...]:
    """Return the columns of segments, with what lies where in each."""
    if names and stratified:
        raise InvalidValue("segments and strata are asked for; rows can be parted by one of them")
    if len(names) > _MOST_SEGMENTS or len(set(names)) != len(names):
        raise InvalidValue(
            f"segments are {len(names)} columns; at most {_MOST_SEGMENTS} different ones can be"
        )
    found = []
    for name in names:
        if name not in columns:
            raise InvalidValue(f"segments names {name!r}; the reference has no such column")
        values = columns[name][rest].tolist()
        bins_of = CategoryBins.fit(values, values)
        codes = bins_of.encode(values).astype(np.intp)
        counts = counts_of(bins, codes, bins_of.size, size)
        found.append(Segments(name, bins_of, counts, np.bincount(codes, minlength=bins_of.size)))
    return tuple(found)


def _warnings(rows: int, dependence: Mapping[str, float]) -> tuple[str, ...]:
    """Return what to know of a reference before one trusts it."""
    found = []
    if rows < _FEW_ROWS:
        found.append(f"the reference has only {rows} rows: changes are found later than with {_FEW_ROWS}")
    if dependent := [name for name, rank in dependence.items() if abs(rank) > _DEPENDENT]:
        some = ", ".join(sorted(dependent, key=lambda name: -abs(dependence[name]))[:3])
        found.append(
            f"rows look dependent: the rank of {some} says much of the next row's"
            f" (in {len(dependent)} of {len(dependence)} features); alarms would be no news"
        )
    return tuple(found)
