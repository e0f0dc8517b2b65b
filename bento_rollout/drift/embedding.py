"""Vectors as numbers that can be tested: distance to the nearest centroid, norm, eight projections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .uniforms import uniforms

__all__ = ["VIEWS", "Embedding"]

_CENTROIDS = 8
_ROUNDS = 10
_PROJECTIONS = 8

VIEWS = ("distance", "norm", *(f"projection_{place}" for place in range(_PROJECTIONS)))
"""What is computed of a vector."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """Where vectors of one column lie.

    Attributes:
        centroids: centroids x dimensions, of a part of the reference.
        seed: of the projections, which are signs.
    """

    centroids: NDArray[np.float64]
    seed: int

    @classmethod
    def fit(cls, vectors: NDArray[np.float64], seed: int) -> Embedding:
        """Return the centroids of vectors: Lloyd's algorithm, from some of them at even distances."""
        present = vectors[np.isfinite(vectors).all(axis=1)]
        places = np.linspace(0, len(present) - 1, min(_CENTROIDS, len(present))).astype(int)
        centroids = present[places].copy()
        for _ in range(_ROUNDS):
            nearest = _distances(present, centroids).argmin(axis=1)
            for place in range(len(centroids)):
                if (nearest == place).any():
                    centroids[place] = present[nearest == place].mean(axis=0)
        return cls(centroids, seed)

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""
        return int(self.centroids.shape[1])

    def views(self, vectors: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return each view of each vector: NaN where one of its numbers is missing, infinite where one is."""
        missing = np.asarray(np.isnan(vectors).any(axis=1))
        endless = np.asarray(np.isinf(vectors).any(axis=1))
        clean = np.where((missing | endless)[:, None], 0.0, vectors)
        signs = np.where(uniforms(self.seed, 0, self.dimensions, _PROJECTIONS) < 0.5, -1.0, 1.0)  # noqa: PLR2004 - a coin
        projected = _products(clean, signs) / np.sqrt(self.dimensions)
        found = {
            "distance": np.sqrt(_distances(clean, self.centroids).min(axis=1)),
            "norm": np.sqrt((clean**2).sum(axis=1)),
        } | {f"projection_{place}": projected[:, place] for place in range(_PROJECTIONS)}
        return {
            name: np.where(missing, np.nan, np.where(endless, np.inf, values))
            for name, values in found.items()
        }


def _products(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a matrix product whose rows do not depend on how many there are, as those of a BLAS do."""
    return np.stack([(left * column).sum(axis=1) for column in right.T], axis=1)


def _distances(vectors: NDArray[np.float64], centroids: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squared distance of each vector to each centroid."""
    return np.stack([((vectors - centroid) ** 2).sum(axis=1) for centroid in centroids], axis=1)
