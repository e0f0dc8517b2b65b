"""What shadow calls showed: agreement, noise, errors, drops and latency of each shadowed variant, as data."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .agreement import CONFIDENCE, Share, beyond, is_beyond_noise, mixed, share_of
from .eras import Era, Series
from .histogram import edges_of, quantile
from .reports import utc
from .revisions import is_of_file, shown_revision
from .state import RolloutState
from .store.tallies import Counted
from .tally import EXAMPLES, OTHER, Example, Kind, Load, Things

__all__ = ["shadow_report"]

QUANTILES = (0.5, 0.9, 0.95, 0.99)

MOST_FIELDS = 50
"""Fields that one report names: those that differ most often."""

MOST_PAIRS = 400
"""Pairs of labels that one report names: the most frequent ones."""

_LARGEST = 1e300
"""What stands for a magnitude that JSON lacks."""

MORE_CONFIDENT = (1 + CONFIDENCE) / 2
"""How sure the bounds of two shares must be, for those of their difference to be `CONFIDENCE` sure."""


@dataclass(slots=True)
class _Sum:
    """All series of one endpoint, or of all of them, in one."""

    things: Things = field(default_factory=dict)
    examples: list[tuple[str, Example]] = field(default_factory=list)
    settings: set[str] = field(default_factory=set)

    def add(self, series: Series, things: Things, examples: Iterable[Example]) -> None:
        self.join(things)
        self.examples += [(series.endpoint, example) for example in examples]
        self.settings.add(series.era.settings)

    def join(self, things: Things) -> None:
        for kind, names in things.items():
            known = self.things.setdefault(kind, {})
            for name, number in names.items():
                known[name] = known.get(name, 0) + number

    def of(self, kind: Kind) -> dict[str, int]:
        """Return one kind's names and numbers, the most frequent first."""
        found = self.things.get(kind, {})
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    @property
    def agreed(self) -> int:
        return self.things.get(Kind.AGREED, {}).get("", 0)

    @property
    def differed(self) -> int:
        return self.things.get(Kind.DIFFERED, {}).get("", 0)

    @property
    def compared(self) -> int:
        return self.agreed + self.differed


def shadow_report(
    state: RolloutState,
    counted: Counted,
    living: Collection[str],
    now: float,
    since_revision: int = 0,
) -> dict[str, Any]:
    """Return what shadow calls showed since the present code of champion and candidate serves.

    Comparisons belong to a pair of digests: what older code of either answered is not counted with the new.

    Args:
        state: who is champion, and who is shadowed.
        counted: what all workers counted.
        living: the tokens of the workers that are alive: theirs are the calls that wait, run and hang now.
        now: seconds since 1970.
        since_revision: leave out what was planned at an earlier revision.
    """
    chosen = _chosen(state, counted, since_revision)
    noise = _by_endpoint(chosen.get(state.champion, ()), counted)
    names = [*(name for name, milli in state.shadow.items() if milli), *chosen]
    sections = {
        name: _section(name, state, counted, chosen.get(name, ()), noise, living)
        for name in dict.fromkeys(names)
    }
    first = _first(state, [series for found in chosen.values() for series in found], since_revision)
    return {
        "rollout": state.name,
        "revision": shown_revision(state.revision),
        "champion": state.champion,
        "since_revision": shown_revision(first),
        "time": utc(now),
        "confidence": CONFIDENCE,
        "noise": sections.pop(state.champion, None),
        "candidates": sections,
    }


def _first(state: RolloutState, counted: Sequence[Series], since: int) -> int:
    """Return the earliest revision that was counted; where a file governs, the present one."""
    if is_of_file(state.revision):
        return state.revision
    return min((series.revision for series in counted), default=max(since, state.revision))


def _chosen(state: RolloutState, counted: Counted, since: int) -> dict[str, list[Series]]:
    """Return by variant the series that belong to its present pair of digests."""
    eras: dict[str, dict[_Pair, list[Series]]] = {}
    for series in counted.updated:
        if series.era.champion == state.champion:
            pairs = eras.setdefault(series.era.candidate, {})
            pairs.setdefault(_pair(series.era), []).append(series)
    found = {name: _present(pairs, state.granted, counted, since) for name, pairs in eras.items()}
    return {name: _as_now(all_of, counted) for name, all_of in found.items() if all_of}


def _present(
    pairs: Mapping[_Pair, list[Series]], granted: Mapping[str, str], counted: Counted, since: int
) -> list[Series]:
    """Return the series of the pair that was counted last, but none of code that is known to be old.

    The champion's code is what its traffic is granted to. A candidate may be watched before any is granted
    to its code: what is granted wins only against what was counted at lower revisions, so that a clock that
    was set back makes nothing old new. A store that is made anew counts its revisions from 1, and so these
    alone decide nothing.
    """

    def age(pair: _Pair) -> tuple[float, int]:
        return max((counted.updated[one], one.revision) for one in pairs[pair])

    def revision(pair: _Pair) -> int:
        return max(one.revision for one in pairs[pair])

    ours = [pair for pair in pairs if granted.get(pair[0], pair[1]) == pair[1]]
    chosen = max(ours or pairs, key=age)
    rightful = max((pair for pair in ours if granted.get(pair[2]) == pair[3]), key=age, default=chosen)
    if revision(chosen) < revision(rightful):
        chosen = rightful
    return [series for series in pairs[chosen] if series.revision >= since]


_Pair = tuple[str, str, str, str]
"""A champion and its digest, a candidate and its digest."""


def _pair(era: Era) -> _Pair:
    return era.champion, era.champion_digest, era.candidate, era.candidate_digest


def _as_now(found: Sequence[Series], counted: Counted) -> list[Series]:
    """Return the series that were compared as each endpoint's newest one was."""
    settings: dict[str, str] = {}
    for series in sorted(found, key=lambda one: counted.updated[one]):
        settings[series.endpoint] = series.era.settings
    return [series for series in found if series.era.settings == settings[series.endpoint]]


def _by_endpoint(found: Iterable[Series], counted: Counted) -> dict[str, _Sum]:
    sums: dict[str, _Sum] = {}
    for series in found:
        one = sums.setdefault(series.endpoint, _Sum())
        one.add(series, counted.counts.get(series, {}), counted.examples.get(series, ()))
    return sums


def _whole(sums: Iterable[_Sum]) -> _Sum:
    whole = _Sum()
    for one in sums:
        whole.join(one.things)
        whole.examples += one.examples
        whole.settings |= one.settings
    return whole


def _section(
    name: str,
    state: RolloutState,
    counted: Counted,
    found: Sequence[Series],
    noise: Mapping[str, _Sum],
    living: Collection[str],
) -> dict[str, Any]:
    """Return all about one shadowed variant."""
    sums = _by_endpoint(found, counted)
    own = name == state.champion
    quiet = {} if own else {e: n for e, n in noise.items() if e in sums and n.settings == sums[e].settings}
    whole = _facts(_whole(sums.values()), _whole(quiet.values()), own=own)
    if not own:
        whole |= _noise_of_all(sums, quiet)
    loads = [load for (token, of), load in counted.loads.items() if of == name and token in living]
    other = sorted(e for e in sums if e in noise and e not in quiet and not own)
    notes = [
        f"{endpoint}: the champion's own shadow is compared in another way, so its noise is not subtracted"
        for endpoint in other
    ]
    return {
        "percent": state.shadow_percents.get(name, 0.0),
        **whole,
        "endpoints": {e: _facts(one, quiet.get(e, _Sum()), own=own) for e, one in sorted(sums.items())},
        "now": dict(zip(Load._fields, (sum(column) for column in zip(*loads, strict=True)), strict=False))
        or dict.fromkeys(Load._fields, 0),
        "notes": notes,
    }


def _noise_of_all(sums: Mapping[str, _Sum], quiet: Mapping[str, _Sum]) -> dict[str, Any]:
    """Return the noise floor of all calls, weighted as the candidate's are; unknown where a part lacks it."""
    asked = {endpoint: one for endpoint, one in sums.items() if one.compared}
    sure = 1 - (1 - MORE_CONFIDENT) / max(1, len(asked))
    parts = []
    for endpoint, one in asked.items():
        noise = quiet.get(endpoint, _Sum())
        if (share := share_of(noise.differed, noise.compared, sure)) is None:
            return {"noise_floor": None, "beyond_noise": _shown(None)}
        parts.append((share, one.compared))
    whole = _whole(asked.values())
    differing = share_of(whole.differed, whole.compared, MORE_CONFIDENT)
    if differing is None:
        return {"noise_floor": None, "beyond_noise": _shown(None)}
    noisy = mixed(parts)
    return {"noise_floor": noisy.value, "beyond_noise": _shown(beyond(differing, noisy))}


def _facts(sums: _Sum, noise: _Sum, *, own: bool) -> dict[str, Any]:
    differing = share_of(sums.differed, sums.compared, MORE_CONFIDENT)
    noisy = share_of(noise.differed, noise.compared, MORE_CONFIDENT)
    return {
        "compared": sums.compared,
        "agreed": sums.agreed,
        "disagreed": sums.differed,
        "not_comparable": sums.of(Kind.ERROR),
        "dropped": sums.of(Kind.DROPPED),
        "agreement": _shown(share_of(sums.agreed, sums.compared)),
        "noise_floor": None if noisy is None else noisy.value,
        "noise_compared": noise.compared,
        "beyond_noise": _shown(beyond(differing, noisy) if differing and noisy else None),
        "latency": {
            "champion": _latency(sums.of(Kind.CHAMPION_SECONDS)),
            "candidate": _latency(sums.of(Kind.CANDIDATE_SECONDS)),
        },
        "fields": dict(_fields(sums, noise, own=own)),
        "labels": list(_labels(sums)),
        "labels_not_told_apart": sums.of(Kind.LABELS).get(OTHER, 0),
        "examples": _examples(sums.examples),
        "compared_by": sorted(sums.settings),
    }


def _shown(share: Share | None) -> dict[str, float | None]:
    return dict.fromkeys(Share.__slots__) if share is None else asdict(share)


def _latency(bins: Mapping[str, int]) -> dict[str, Any]:
    """Return quantiles in seconds, and the histogram as rows of (from, to, calls)."""
    counts = {int(index): number for index, number in bins.items()}
    return {
        "calls": sum(counts.values()),
        **{f"p{share * 100:g}": quantile(counts, share) for share in QUANTILES},
        "histogram": [
            [edges_of(index)[0], min(edges_of(index)[1], 1e4), counts[index]] for index in sorted(counts)
        ],
    }


def _fields(sums: _Sum, noise: _Sum, *, own: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield where answers differ, and whether the champion differs from itself there as often.

    That is not known without a call of the champion beside itself, nor for fields that are not told apart.
    """
    noisy = noise.of(Kind.FIELD)
    for path, differed in list(sums.of(Kind.FIELD).items())[:MOST_FIELDS]:
        if own or path == OTHER or not noise.compared:
            yield path, {"differed": differed, "noise": None, "beyond_noise": None}
            continue
        floor = noisy.get(path, 0)
        real = is_beyond_noise(differed, sums.compared, floor, noise.compared)
        yield path, {"differed": differed, "noise": floor, "beyond_noise": real}


def _labels(sums: _Sum) -> Iterator[dict[str, Any]]:
    for pair, number in list(sums.of(Kind.LABELS).items())[:MOST_PAIRS]:
        if pair != OTHER:
            champion, candidate = json.loads(pair)
            yield {"champion": champion, "candidate": candidate, "count": number}


def _examples(examples: Sequence[tuple[str, Example]]) -> list[dict[str, Any]]:
    """Return the most telling disagreements; of equally telling ones the newest."""
    most = sorted(examples, key=lambda item: (_finite(item[1].magnitude), item[1].time), reverse=True)[
        :EXAMPLES
    ]
    return [
        {
            "endpoint": endpoint,
            "prediction_id": example.prediction_id,
            "time": utc(example.time),
            "magnitude": _finite(example.magnitude),
            "differences": [
                {**asdict(difference), "magnitude": _finite(difference.magnitude)}
                for difference in example.differences
            ],
        }
        for endpoint, example in most
    ]


def _finite(magnitude: float) -> float:
    """Return what JSON can say; an older version's file may hold what it cannot."""
    return magnitude if math.isfinite(magnitude) else _LARGEST
