"""The page of a shadow report: whole, bounded, and safe whatever the report's names hold."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from bento_rollout.cli.shadow_page import shadow_page
from bento_rollout.eras import Era, Series
from bento_rollout.histogram import bin_of
from bento_rollout.records import Difference
from bento_rollout.shadow_report import shadow_report
from bento_rollout.state import RolloutState
from bento_rollout.store.tallies import Counted
from bento_rollout.tally import Example, Kind, Load, Sums, label_pair

NOW = 1_770_000_000.0
EVIL = """<script>alert("1")</script><img src='http://evil.example/x' onerror=alert(1)>&amp;"""


class Shadowed:
    """Counts what shadows of a rollout came to, as its workers do, and makes the report of it.

    Args:
        percents: which part of the calls each variant shadows.
        name: the rollout.
        champion: who answers.
    """

    def __init__(
        self, percents: Mapping[str, float], *, name: str = "screening", champion: str = "logistic"
    ) -> None:
        shadow = {variant: round(percent * 1000) for variant, percent in percents.items()}
        self.state = RolloutState(name=name, champion=champion, salt="s", revision=12, shadow=shadow)
        self.sums, self._loads = Sums(), dict[tuple[str, str], Load]()

    def series(self, candidate: str, endpoint: str = "predict") -> Series:
        """Return what the counts of a candidate at one endpoint belong to."""
        digest = "1" * 12 if candidate == self.state.champion else "2" * 12
        era = Era(self.state.champion, "1" * 12, candidate, digest, "close(rtol=1e-05)")
        return Series(era, 9, endpoint)

    def count(self, series: Series, counts: Mapping[Kind, Mapping[str, int]]) -> Shadowed:
        """Add numbers by kind and name."""
        for kind, names in counts.items():
            for name, number in names.items():
                self.sums.count(series, kind, name, number)
        return self

    def agree(self, candidate: str, agreed: int, differed: int, endpoint: str = "predict") -> Shadowed:
        """Add calls that were compared."""
        both = {Kind.AGREED: {"": agreed}, Kind.DIFFERED: {"": differed}}
        return self.count(self.series(candidate, endpoint), both)

    def took(self, series: Series, champion: Iterable[float], candidate: Iterable[float]) -> Shadowed:
        """Add durations in seconds."""
        for kind, all_of in ((Kind.CHAMPION_SECONDS, champion), (Kind.CANDIDATE_SECONDS, candidate)):
            for seconds in all_of:
                self.sums.count(series, kind, str(bin_of(seconds)))
        return self

    def running(self, candidate: str, load: Load) -> Shadowed:
        """Say what a candidate's shadow does now."""
        self._loads["worker", candidate] = load
        return self

    def report(self) -> dict[str, Any]:
        """Return the report as `bento-rollout shadow-report` makes it."""
        updated = dict.fromkeys(self.sums.counts, NOW)
        counted = Counted(self.sums.counts, self.sums.examples, updated, self._loads)
        return shadow_report(self.state, counted, {"worker"}, NOW)


def full_report() -> dict[str, Any]:
    """Return a report that has everything: two candidates, two endpoints, noise, and a call that hangs."""
    told = Shadowed({"boosted": 50, "forest": 10, "logistic": 20})
    luck = random.Random(7)
    for endpoint, calls, differed in (("predict", 41_230, 1113), ("score", 8211, 402)):
        series = told.series("boosted", endpoint)
        told.agree("boosted", calls - differed, differed, endpoint)
        told.agree("logistic", calls // 5, calls // 1300, endpoint)
        told.count(series, {
            Kind.ERROR: {"shape": 31, "ValueError": 12, "nan": 2},
            Kind.DROPPED: {"queue_full": 812, "budget": 240, "timeout": 9, "not_champion": 88, "rate": 4},
            Kind.FIELD: {
                "$.probability": differed, "$.reasons[].score": differed // 3, "$.time": calls // 8,
                **{f"$.features[].f{number}": 60 - number for number in range(24)},
            },
            Kind.LABELS: {
                label_pair(a, b): number
                for a, b, number in (
                    ("approve", "approve", 30_001), ("decline", "decline", 8412), ("review", "review", 1704),
                    ("approve", "review", 622), ("review", "approve", 214), ("decline", "review", 181),
                    ("review", "decline", 73), ("approve", "decline", 23),
                )
            },
        })  # fmt: skip
        told.count(told.series("logistic", endpoint), {Kind.FIELD: {"$.time": calls // 39}})
        slow = [luck.lognormvariate(-4.9, 0.3) for _ in range(4000)]
        told.took(series, slow, [luck.lognormvariate(-4.45, 0.42) for _ in slow])
        told.took(told.series("logistic", endpoint), slow, [luck.lognormvariate(-4.88, 0.3) for _ in slow])
        told.sums.show(series, _examples(endpoint))
    return told.running("boosted", Load(3, 2, 1)).report()


def _examples(endpoint: str) -> Iterator[Example]:
    for number in range(6):
        differences = [Difference("$.label", "label", "approve", "decline", 1.0)]
        differences += [Difference(f"$.scores[{i}]", "value", "0.913", "0.274", 0.7) for i in range(number)]
        id_ = f"0199{number}e22-79b0-7cc3-98c4-dc0c0c07398f"
        yield Example(
            1 - number / 10, NOW - 777 * number, f"{id_}.{number}" * (endpoint != ""), (*differences,)
        )


class Document(HTMLParser):
    """Reads a page, and refuses tags that do not match."""

    VOID = frozenset({"meta"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element; no attribute stands twice."""
        assert len({name for name, _ in attrs}) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that holds nothing."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close what was opened last, and nothing else."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text."""
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All that is to be read, with plain spaces."""
        return re.sub(r"\s+", " ", "".join(self.texts).replace("\u202f", " "))

    def all(self, tag: str, class_: str = "") -> list[dict[str, str | None]]:
        """Return the attributes of all elements of a kind that have these classes."""
        wanted = set(class_.split())
        return [
            found
            for name, found in self.tags
            if name == tag and wanted <= set((found.get("class") or "").split())
        ]


def read(report: Mapping[str, Any]) -> Document:
    """Return the page of a report, read and found whole; it names no other place, and runs nothing."""
    page = shadow_page(report)
    page.encode()
    document = Document(page)
    assert {tag for tag, _ in document.tags} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "form",
        "base",
    } == set()
    for _, attributes in document.tags:
        assert not {name for name in attributes if name.startswith("on")} | (
            attributes.keys() & {"src", "action"}
        )
        assert (attributes.get("href") or "#").startswith("#")
        assert "url(" not in (attributes.get("style") or "")
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    return document


def test_a_full_report_is_one_whole_document() -> None:
    """Title, language, headings in order, tables with scopes and plots with words, all tags in balance."""
    document = read(full_report())
    assert document.all("html") == [{"lang": "en"}]
    assert "Shadow report of screening" in document.texts
    levels = [int(tag[1]) for tag, _ in document.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(cell["scope"] in {"col", "row", "rowgroup"} for cell in document.all("th"))
    assert len(document.all("caption")) == len(document.all("table"))
    assert document.all("svg")
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in document.all("svg"))
    ids = [found["id"] for _, found in document.tags if "id" in found]
    assert ids == ["candidate-boosted", "candidate-forest", "noise"]


def test_the_headline_says_it_in_plain_words() -> None:
    """Agreement with its bounds, the champion's own noise, and what is beyond it."""
    told = Shadowed({"boosted": 100}).agree("boosted", 1201, 33).agree("logistic", 996, 4)
    text = read(told.report()).text
    found = re.search(
        r"boosted agrees with logistic in 97\.3 % of 1 234 calls \(95 % sure: (\S+) to (\S+) %\); "
        r"0\.4 % is the champion's own noise; beyond it 2\.3 % \((\S+) to (\S+) %\)\.",
        text,
    )
    assert found, text
    low, high, least, most = map(float, found.groups())
    assert low < 97.3 < high
    assert least < 2.3 < most
    assert "logistic agrees with itself in 99.6 % of 1 000 calls" in text
    assert "Nothing was compared yet" not in text


def test_unknown_noise_is_said_with_what_to_do() -> None:
    """Without the champion beside itself nobody knows the noise, and the page says how to measure it."""
    text = read(Shadowed({"boosted": 100}).agree("boosted", 99, 1).report()).text
    assert (
        "The champion's own noise is not known: bento-rollout shadow screening logistic=10 measures it."
        in text
    )


def test_nothing_compared_says_what_was_dropped() -> None:
    """A shadow without a comparison has its section, and the reasons."""
    told = Shadowed({"boosted": 100, "forest": 5})
    told.count(
        told.series("boosted"), {Kind.DROPPED: {"queue_full": 1200, "budget": 1}, Kind.ERROR: {"KeyError": 1}}
    )
    document = read(told.report())
    said = "1 call could not be compared; 1 201 calls were dropped (1 200 queue_full, 1 budget)."
    assert f"Nothing was compared yet: {said}" in document.text
    assert "Nothing was compared yet." in document.text
    assert document.all("svg") == []
    assert {"candidate-boosted", "candidate-forest"} <= {found.get("id") for found in document.all("section")}


def test_without_any_shadow_it_says_how_to_begin() -> None:
    """An empty report is a page too."""
    text = read(Shadowed({}).report()).text
    assert "Nothing is shadowed: bento-rollout shadow screening CANDIDATE=10 begins." in text


def test_one_pair_of_labels_is_a_table_of_one_framed_cell() -> None:
    """Who always says the same has one cell, on the diagonal."""
    told = Shadowed({"boosted": 100}).agree("boosted", 40, 0)
    told.count(told.series("boosted"), {Kind.LABELS: {label_pair("yes", "yes"): 40}})
    document = read(told.report())
    assert document.all("td", "same") == [{"class": "n same", "style": "--heat:1.000"}]


def test_labels_beyond_twenty_share_a_row_and_a_column() -> None:
    """Of 30 labels the 20 most frequent are told apart; the calls of all others are in 'others'."""
    told = Shadowed({"boosted": 100}).agree("boosted", 1000, 500)
    pairs = {label_pair(f"l{n}", f"l{n}"): 100 - n for n in range(30)} | {label_pair("l0", "l29"): 1}
    told.count(told.series("boosted"), {Kind.LABELS: pairs})
    document = read(told.report())
    assert len(document.all("td", "same")) == 20
    assert document.text.count("10 others") == 2
    assert "755" in document.texts  # 80 to 71
    assert "1" in document.texts


def test_pairs_that_were_not_told_apart_do_not_count_as_agreement() -> None:
    """More than 200 pairs: the rest is named below the table, and is in no cell of it."""
    told = Shadowed({"boosted": 100}).agree("boosted", 1, 999)
    told.count(told.series("boosted"), {Kind.LABELS: {label_pair(str(n), str(n + 1)): 3 for n in range(300)}})
    document = read(told.report())
    assert "300 more, of rarer pairs, are not told apart." in document.text
    assert not [cell for cell in document.all("td", "same") if "style" in cell]


@pytest.mark.parametrize(
    "evil",
    [EVIL, "\x00\x1b[2J\ud800", "</title></style></svg>", "' onmouseover='x", "xy" * 5000],
    ids=["script", "controls", "ends", "attribute", "long"],
)
def test_hostile_names_are_text(evil: str) -> None:
    """Labels, paths, errors, endpoints, ids and names of variants are escaped, wherever they stand."""
    told = Shadowed({evil: 100, f"{evil}2": 100}, name=evil, champion=evil[::-1])
    for endpoint in (evil, "b"):
        series = told.series(evil, endpoint)
        told.agree(evil, 90, 10, endpoint).took(series, [0.01], [0.02])
        names = {Kind.ERROR: {evil: 1}, Kind.DROPPED: {evil: 1}, Kind.FIELD: {evil: 1}}
        told.count(series, {**names, Kind.LABELS: {label_pair(evil, f"{evil}3"): 1}})
        told.sums.show(series, [Example(1.0, NOW, evil, (Difference(evil, evil, evil, evil),))])
    report = told.report()
    report["candidates"][evil]["notes"] = [evil]
    document = read(report)
    ids = [found["id"] or "" for _, found in document.tags if "id" in found]
    assert len(ids) == len(set(ids)) == 2
    assert all(re.fullmatch(r"candidate-[A-Za-z0-9_.~-]+", id_) for id_ in ids)
    assert [link["href"] for link in document.all("a")] == [f"#{id_}" for id_ in ids]
    if evil == EVIL:
        assert EVIL in document.text


def test_names_that_look_alike_keep_their_own_sections() -> None:
    """Whatever the two hold instead of letters: different names have different ids."""
    document = read(Shadowed({"a b": 1, "a~20~b": 1, "a_b": 1, "a.b": 1}).report())
    ids = [found["id"] for found in document.all("section") if "id" in found]
    assert ids == ["candidate-a~20~b", "candidate-a~7e~20~7e~b", "candidate-a_b", "candidate-a.b"]


def test_huge_numbers_are_grouped_and_never_rounded_to_all() -> None:
    """A quadrillion calls of which one differs: not 100 %."""
    told = Shadowed({"boosted": 100}).agree("boosted", 10**15 - 1, 1)
    told.agree("logistic", 10**12, 0).took(told.series("boosted"), [0.0, 1e9], [1e-9, 5000.0])
    document = read(told.report())
    assert "in >99.9999 % of 1 000 000 000 000 000 calls" in document.text
    assert re.search(r"1 0\d\d s", document.text), "the last bin has no end, and tells where it begins"


def test_a_thousand_fields_are_bounded() -> None:
    """At most 50 are named, 10 of them at first; a larger report does not make a larger page."""
    told = Shadowed({"boosted": 100}).agree("boosted", 10, 5000)
    told.count(
        told.series("boosted"), {Kind.FIELD: {f"$.f{number}": 2000 - number for number in range(1000)}}
    )
    report = told.report()
    document = read(report)
    assert document.text.count("$.f") <= 50
    assert "40 more" in document.text
    assert "further fields, not told apart" in document.text
    facts = report["candidates"]["boosted"]
    facts["fields"] = {f"$.g{n}": {"differed": 5, "noise": 0, "beyond_noise": True} for n in range(1000)}
    document = read(report)
    assert document.text.count("$.g") == 50
    assert "950 rarer ones are left out." in document.text


def test_fields_say_whether_they_differ_beyond_noise() -> None:
    """Beside each field stands how often the champion differs from itself there, and what follows."""
    told = Shadowed({"boosted": 100}).agree("boosted", 800, 200).agree("logistic", 800, 200)
    told.count(told.series("boosted"), {Kind.FIELD: {"$.score": 150, "$.time": 120}})
    told.count(told.series("logistic"), {Kind.FIELD: {"$.time": 118}})
    text = read(told.report()).text
    assert "$.score15015.0 %0 %beyond noise" in text
    assert "$.time12012.0 %11.8 %within noise" in text


def test_every_reason_to_drop_is_explained() -> None:
    """Each reason that a shadow counts has its words."""
    reasons = [
        "queue_full",
        "rate",
        "budget",
        "timeout",
        "shutdown",
        "not_champion",
        "unavailable",
        "unanswered",
    ]
    told = Shadowed({"boosted": 100})
    told.count(told.series("boosted"), {Kind.DROPPED: dict.fromkeys(reasons, 2)})
    texts = read(told.report()).texts
    for reason in reasons:
        assert len(texts[texts.index(reason) + 2]) > 15, reason


def test_calls_that_hang_are_an_alert() -> None:
    """What waits and runs now is a line; what is stuck stands out, and says what to do."""
    told = (
        Shadowed({"boosted": 100, "forest": 100})
        .running("boosted", Load(3, 2, 1))
        .running("forest", Load(1, 0, 0))
    )
    document = read(told.report())
    assert "Now: 3 waiting, 2 running, 1 stuck." in document.text
    assert "Now: 1 waiting, 0 running, none stuck." in document.text
    assert len(document.all("div", "now stuck")) == 1
    assert "give it a process of its own" in document.text


def test_each_of_several_endpoints_folds() -> None:
    """Two endpoints have their own numbers; of one alone the whole says it all."""
    document = read(full_report())
    assert len(document.all("details", "endpoint")) == 4  # boosted's and the champion's own
    assert "predict97.3 % agree in 41 230 calls" in document.text
    assert not read(Shadowed({"boosted": 1}).agree("boosted", 1, 1).report()).all("details", "endpoint")


def test_bars_show_every_call() -> None:
    """About 60 bars at most for each, and their heights are the shares of the calls: none is lost."""
    told = Shadowed({"boosted": 100}).agree("boosted", 5000, 0)
    luck = random.Random(1)
    slow = [luck.lognormvariate(-4, 1) for _ in range(5000)]
    document = read(told.took(told.series("boosted"), slow, [2 * seconds for seconds in slow]).report())
    for who in ("champion", "candidate"):
        bars = document.all("rect", f"bar {who}")
        assert 30 < len(bars) <= 66
        places = [float((bar["x"] or "").rstrip("%")) for bar in bars]
        assert places == sorted(places)
        assert 0 <= min(places) < max(places) <= 100 - float((bars[0]["width"] or "").rstrip("%")) + 0.01
    lefts = [
        float((document.all("rect", f"bar {who}")[0]["x"] or "").rstrip("%"))
        for who in ("champion", "candidate")
    ]
    assert lefts[0] < lefts[1]


@pytest.mark.parametrize(
    ("champion", "candidate"),
    [([0.01], [0.01]), ([0.0], [1e9]), ([1e-7, 1e-6], [2e-6]), ([0.3, 0.31], [0.32]), ([2000.0], [0.5])],
)
def test_any_durations_have_an_axis(champion: list[float], candidate: list[float]) -> None:
    """From one bin to all of them: bars, marks and ticks lie within the plot, and 2 to 7 ticks have names."""
    told = Shadowed({"boosted": 100}).agree("boosted", 1, 0)
    document = read(told.took(told.series("boosted"), champion, candidate).report())
    assert document.all("rect", "bar champion")
    for tag, found in document.tags:
        at = found.get("x") or found.get("x1") or ""
        if tag in {"rect", "line"} and at.endswith("%"):
            assert -0.01 <= float(at.rstrip("%")) <= 100.01
    ticks = [found for found in document.all("line", "tick") if found["y1"] == "176"]
    assert 1 <= len(ticks) <= 7


@pytest.mark.parametrize("agreed", [0, 1, 500, 990, 999, 1000])
@pytest.mark.parametrize("noise", [None, 0, 3, 1000])
def test_the_axis_of_agreement_has_room_for_all_that_it_shows(agreed: int, noise: int | None) -> None:
    """Interval, point and the champion's noise lie within an axis that ends at 100 %, in order."""
    told = Shadowed({"boosted": 100}).agree("boosted", agreed, 1000 - agreed)
    if noise is not None:
        told.agree("logistic", 1000 - noise, noise)
    document = read(told.report())
    (interval, *_), (point, *_) = document.all("rect", "ci"), document.all("circle", "seen")
    left, width = (float((interval[name] or "").rstrip("%")) for name in ("x", "width"))
    middle = float((point["cx"] or "").rstrip("%"))
    assert -0.01 <= left <= middle <= left + width + 0.31
    assert left + width <= 100.31
    zones = document.all("rect", "noise")
    assert len(zones) == (0 if noise is None else 1)
    if zones and noise:
        zone = [float((zones[0][name] or "").rstrip("%")) for name in ("x", "width")]
        assert math.isclose(sum(zone), 100.0, abs_tol=0.01)
    texts = [text for text in document.texts if text.endswith("\u202f%")]
    assert "100\u202f%" in texts or "100.0\u202f%" in texts
