"""What a scrape of ``/metrics`` found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Scrape"]

PREFIX = "bento_rollout_"

Key = tuple[str, frozenset[tuple[str, str]]]


class Scrape:
    """Our samples in a scrape; the difference of two is what was counted between them.

    Args:
        text: as it was scraped.
    """

    def __init__(self, text: str = "", samples: Mapping[Key, float] | None = None) -> None:
        self.text = text
        self.samples: dict[Key, float] = dict(samples or {})
        for family in self._families():
            for sample in family.samples:
                if sample.name.startswith(PREFIX):
                    self.samples[sample.name, frozenset(sample.labels.items())] = sample.value

    def __sub__(self, before: Scrape) -> Scrape:
        return Scrape(
            samples={key: value - before.samples.get(key, 0) for key, value in self.samples.items()}
        )

    def __call__(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that have a name and, among others, these labels."""
        return sum(self._found(name, labels))

    def of(self, *rollouts: str) -> Scrape:
        """Return what these rollouts have, and what is no rollout's: others count in the same process."""
        return Scrape(
            samples={
                key: value
                for key, value in self.samples.items()
                if dict(key[1]).get("rollout", rollouts[0]) in rollouts
            }
        )

    def has(self, name: str, **labels: str) -> bool:
        """Whether there is such a sample."""
        return bool(self._found(name, labels))

    def families(self) -> dict[str, tuple[str, str]]:
        """Return our metrics, each with its type and help, by the name that it was given."""
        return {
            family.name + ("_total" if family.type == "counter" else ""): (family.type, family.documentation)
            for family in self._families()
            if family.name.startswith(PREFIX)
        }

    def _families(self) -> Iterator[Any]:
        from prometheus_client.parser import text_string_to_metric_families  # after BentoML has

        return iter(text_string_to_metric_families(self.text))

    def _found(self, name: str, labels: Mapping[str, str]) -> list[float]:
        wanted = set(labels.items())
        return [
            value for (found, has), value in self.samples.items() if found == PREFIX + name and wanted <= has
        ]
