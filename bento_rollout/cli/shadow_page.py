"""The report of shadow calls as one HTML document that needs nothing else: no script, no file, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ..tally import OTHER
from .elements import (
    NOTHING,
    STYLE,
    THIN,
    Html,
    amount,
    calls,
    confusion_table,
    element,
    long_table,
    percent,
    scrolling,
    short,
    slug,
    span,
    table,
)
from .plots import agreement_figure, latency_figure

__all__ = ["shadow_page"]

MOST_LABELS = 20
"""Labels that the confusion table tells apart."""

FIRST_EXAMPLES = 5
"""Disagreements that are shown before one asks for all."""

MOST_DIFFERENCES = 3
"""Differences of one disagreement."""

DROPS = {
    "queue_full": "as many calls as max_pending allows were waiting",
    "rate": "more came than max_rate allows",
    "budget": "the candidate had used up its share of the CPU, max_cpu",
    "timeout": "it waited, or ran, for longer than its timeout",
    "shutdown": "the worker ended before it was its turn",
    "not_champion": "another variant than the champion gave the answer",
    "unavailable": "the candidate was not ready",
    "unanswered": "the champion gave no whole answer to compare with",
}
ERRORS = {
    "shape": "the answers have different shapes",
    "type": "the answers are of different types",
    "nan": "one of the answers is not a number",
    OTHER: "further kinds, not told apart",
}
RAISED = "raised by the candidate, or while comparing"

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def shadow_page(report: Mapping[str, Any]) -> str:
    """Return what shadow calls showed as an HTML document for people.

    Args:
        report: what `shadow_report` returns. Its names may hold anything: they are escaped.
    """
    candidates, noise = report["candidates"], report["noise"]
    parts = [_header(report)]
    if not candidates and noise is None:
        command = f"bento-rollout shadow {report['rollout']} CANDIDATE=10"
        parts.append(
            element("p", "Nothing is shadowed: ", element("code", command), " begins.", class_="lead")
        )
    if len(candidates) > 1:
        parts.append(_overview(report))
    parts += [_section(_Pair(report, name), facts) for name, facts in candidates.items()]
    if noise is not None:
        parts.append(_section(_Pair(report, report["champion"]), noise))
    parts.append(_footer(report))
    title = f"Shadow report of {report['rollout']}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", title),
        element("style", Html(STYLE)),
    )
    document = element("html", head, element("body", element("main", *parts)), lang="en")
    return f"<!DOCTYPE html>\n{document}\n"


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two variants that are compared, and what is said of both."""

    report: Mapping[str, Any]
    candidate: str

    @property
    def champion(self) -> str:
        return str(self.report["champion"])

    @property
    def own(self) -> bool:
        """Whether it is the champion beside itself."""
        return self.candidate == self.champion

    @property
    def id(self) -> str:
        return "noise" if self.own else f"candidate-{slug(self.candidate)}"

    @property
    def sure(self) -> str:
        """How sure the bounds are."""
        return _plain(self.report["confidence"] * 100)

    @property
    def names(self) -> tuple[str, str]:
        """What the two are called in tables and legends."""
        return (self.champion, "itself") if self.own else (self.champion, self.candidate)


def _plain(percents: float) -> str:
    """Return a percentage that somebody chose, as it was written."""
    return f"{percents:g}{THIN}%"


def _when(time: object) -> Html:
    """Return a time of the report as people read it."""
    return element("time", str(time).partition(".")[0].replace("T", " "), datetime=str(time))


# -- the whole -----------------------------------------------------------------------------------------


def _header(report: Mapping[str, Any]) -> Html:
    since, now = amount(report["since_revision"]), amount(report["revision"])
    told = [
        element("span", "Champion ", element("strong", report["champion"])),
        element("span", f"counted since revision {since}, now at {now}"),
        element("span", _when(report["time"]), " UTC"),
    ]
    facts = element("p", *chain(*((one, " ") for one in told)), class_="meta")
    eyebrow = element("p", "Shadow report", class_="eyebrow")
    return element("header", eyebrow, element("h1", report["rollout"]), facts)


def _overview(report: Mapping[str, Any]) -> Html:
    rows = []
    for name, facts in report["candidates"].items():
        link = element("a", name, href=f"#{_Pair(report, name).id}")
        agreement, more = facts["agreement"], facts["beyond_noise"]
        numbers = (amount(facts["compared"]), percent(agreement["value"]), percent(more["value"]))
        rows.append([link, _plain(facts["percent"]), *numbers, _verdict(facts)])
    heads = ["Candidate", "#Shadowed", "#Compared", "#Agreement", "#Beyond noise", ""]
    return element("section", table("Candidates", heads, rows), class_="card overview")


def _footer(report: Mapping[str, Any]) -> Html:
    sure = _plain(report["confidence"] * 100)
    return element(
        "footer",
        f"Bounds hold with {sure} confidence, however often one looks. Comparisons of older code are "
        "left out. Quantiles are within 1 % of the true ones.",
    )


def _section(pair: _Pair, facts: Mapping[str, Any]) -> Html:
    """Return all about one shadowed variant."""
    title = "The champion beside itself" if pair.own else pair.candidate
    shadowed = f"shadows {_plain(facts['percent'])} of calls" if facts["percent"] else "not shadowed now"
    head = element("div", element("h2", title), element("span", shadowed, class_="badge"), class_="head")
    notes = [element("p", note, class_="note") for note in facts["notes"]]
    body = _body(pair, facts, 3)
    endpoints = _endpoints(pair, facts["endpoints"])
    return element("section", head, _now(facts["now"]), *notes, *body, *endpoints, class_="card", id=pair.id)


def _now(now: Mapping[str, int]) -> Html:
    words = [f"{amount(now['pending'])} waiting", f"{amount(now['running'])} running"]
    line = element(
        "p", f"Now: {', '.join(words)}, {'none' if not now['stuck'] else amount(now['stuck'])} stuck."
    )
    if not now["stuck"]:
        return element("div", line, class_="now")
    told = (
        "A stuck call has outlived its timeout and keeps its place, and no other runs there: "
        "mend the candidate, or give it a process of its own."
    )
    return element("div", line, element("p", told), class_="now stuck", role="alert")


def _endpoints(pair: _Pair, endpoints: Mapping[str, Any]) -> list[Html]:
    if len(endpoints) < 2:  # noqa: PLR2004 - of one the whole says it all
        return []
    found = [element("h3", "By endpoint")]
    for name, facts in endpoints.items():
        share = percent(facts["agreement"]["value"])
        told = (
            f"{share} agree in {amount(facts['compared'])} calls" if facts["compared"] else "nothing compared"
        )
        summary = element("summary", element("code", name), element("span", told, class_="aside"))
        found.append(element("details", summary, *_body(pair, facts, 4), class_="endpoint"))
    return found


# -- one variant, or one endpoint of it ----------------------------------------------------------------


def _body(pair: _Pair, facts: Mapping[str, Any], level: int) -> list[Html]:
    """Return what was found, most important first."""
    tag = f"h{level}"
    parts = [element("p", *_headline(pair, facts), class_="lead")]
    if facts["compared"]:
        parts += [_figures(pair, facts), agreement_figure(facts, pair.names, sure=pair.sure)]
    if facts["latency"]["candidate"]["calls"]:
        parts += [element(tag, "Latency"), latency_figure(facts["latency"], pair.names)]
    if facts["not_comparable"] or facts["dropped"]:
        parts.append(_reasons(facts, tag))
    if facts["labels"]:
        parts += [element(tag, "Labels"), *_confusion(pair, facts["labels"], facts["labels_not_told_apart"])]
    if facts["fields"]:
        parts += [element(tag, "Fields that differ"), *_fields(pair, facts)]
    if facts["examples"]:
        parts += [element(tag, "Most telling disagreements"), *_examples(pair, facts["examples"])]
    return parts


def _headline(pair: _Pair, facts: Mapping[str, Any]) -> list[str]:
    """Return the result in plain words."""
    if not facts["compared"]:
        return [_nothing(facts)]
    agreement, more = facts["agreement"], facts["beyond_noise"]
    sure = f"({pair.sure} sure: {span(agreement['low'], agreement['high'])})"
    other = "itself" if pair.own else pair.champion
    words: list[str] = [
        element("strong", pair.candidate), f" agrees with {other} in ",
        element("strong", percent(agreement["value"])), f" of {calls(facts['compared'])} {sure}",
    ]  # fmt: skip
    if pair.own:
        return [*words, f"; {percent(1 - agreement['value'])} is noise that no candidate can be blamed for."]
    if facts["noise_floor"] is None:
        return [*words, ". The champion's own noise is not known", *_how_to_know(pair)]
    noise = f"; {percent(facts['noise_floor'])} is the champion's own noise; beyond it "
    return [
        *words,
        noise,
        element("strong", percent(more["value"])),
        f" ({span(more['low'], more['high'])}).",
    ]


def _how_to_know(pair: _Pair) -> list[str]:
    """Return what measures the champion's own noise."""
    command = f"bento-rollout shadow {pair.report['rollout']} {pair.champion}=10"
    if not (pair.report["noise"] or {}).get("percent"):
        return [": ", element("code", command), " measures it."]
    if pair.report["candidates"][pair.candidate]["notes"]:
        return [f": it is compared in another way. Give shadow.{pair.champion} the same compare."]
    return [" of every endpoint yet."]


def _nothing(facts: Mapping[str, Any]) -> str:
    words = []
    if missed := sum(facts["not_comparable"].values()):
        words.append(f"{calls(missed)} could not be compared")
    if dropped := facts["dropped"]:
        reasons = ", ".join(f"{amount(number)} {short(reason)}" for reason, number in dropped.items())
        words.append(f"{calls(sum(dropped.values()))} {_were(dropped)} dropped ({reasons})")
    return "Nothing was compared yet" + (f": {'; '.join(words)}." if words else ".")


def _were(numbers: Mapping[str, int]) -> str:
    return "was" if sum(numbers.values()) == 1 else "were"


def _verdict(facts: Mapping[str, Any]) -> Html:
    """Return in a word or two whether a candidate differs; what is not known is said."""
    if not facts["compared"]:
        return element("span", "nothing compared", class_="badge")
    if facts["noise_floor"] is None:
        return element("span", "noise unknown", class_="badge")
    if facts["beyond_noise"]["low"] > 0:
        return element("span", "differs beyond noise", class_="badge warm")
    return element("span", "within noise, so far", class_="badge cool")


def _figures(pair: _Pair, facts: Mapping[str, Any]) -> Html:
    more = [] if pair.own else [("Beyond noise", percent(facts["beyond_noise"]["value"]))]
    figures = [
        *((name.capitalize(), amount(facts[name])) for name in ("compared", "agreed", "disagreed")),
        *more,
        ("Not comparable", amount(sum(facts["not_comparable"].values()))),
        ("Dropped", amount(sum(facts["dropped"].values()))),
    ]
    return element("dl", *(element("div", element("dt", k), element("dd", v)) for k, v in figures))


def _reasons(facts: Mapping[str, Any], tag: str) -> Html:
    """Return errors and drops beside each other."""
    errors, drops = facts["not_comparable"], facts["dropped"]
    kinds = [[element("code", short(k)), amount(n), ERRORS.get(k, RAISED)] for k, n in errors.items()]
    lost = [[element("code", short(k)), amount(n), DROPS.get(k, "")] for k, n in drops.items()]
    return element(
        "div",
        element(
            "div", element("h" + tag[1], "Not comparable"), *_rows_or_none("Errors by kind", "Error", kinds)
        ),
        element("div", element("h" + tag[1], "Dropped"), *_rows_or_none("Drops by reason", "Reason", lost)),
        class_="halves",
    )


def _rows_or_none(caption: str, first: str, rows: list[list[str]]) -> list[Html]:
    if not rows:
        return [element("p", "None.", class_="none")]
    return long_table(caption, [first, "#Calls", "What it means"], rows)


def _confusion(pair: _Pair, told: Sequence[Mapping[str, Any]], pooled: int) -> list[Html]:
    """Return the table of labels; pairs that were not told apart say nothing about agreement."""
    words = "Framed: both say the same. The stronger the colour, the larger the part of the row."
    found = [element("p", words, class_="hint")]
    if told:
        found.append(confusion_table(told, pair.names, MOST_LABELS))
    if pooled:
        found.append(
            element("p", f"{amount(pooled)} more, of rarer pairs, are not told apart.", class_="none")
        )
    return found


def _fields(pair: _Pair, facts: Mapping[str, Any]) -> list[Html]:
    """Return where answers differ, beside how often the champion differs from itself there."""
    heads = ["Field", "#Differs", "#Of calls"]
    if not pair.own:
        heads += ["#Champion's noise", ""]
    rows = []
    for path, told in facts["fields"].items():
        name = "further fields, not told apart" if path == OTHER else element("code", short(path))
        row = [name, amount(told["differed"]), _part(told["differed"], facts["compared"])]
        if not pair.own:
            row += [_part(told["noise"] or 0, facts["noise_compared"]), _beyond(told, facts)]
        rows.append(row)
    return long_table("Fields that differ", heads, rows, "even")


def _part(number: int, of: int) -> str:
    return percent(min(1.0, number / of)) if of else NOTHING


def _beyond(told: Mapping[str, Any], facts: Mapping[str, Any]) -> Html:
    if not facts["noise_compared"] or told["beyond_noise"] is None:
        return element("span", "noise unknown", class_="badge")
    if told["beyond_noise"]:
        return element("span", "beyond noise", class_="badge warm")
    return element("span", "within noise", class_="badge cool")


def _examples(pair: _Pair, examples: Sequence[Mapping[str, Any]]) -> list[Html]:
    """Return single disagreements, each with its most telling differences."""
    heads = ("Prediction", "Endpoint", "Where", *pair.names)
    top = element("tr", *(element("th", head, scope="col") for head in heads))
    groups = [element("tbody", *_example(example)) for example in examples]
    first, more = groups[:FIRST_EXAMPLES], groups[FIRST_EXAMPLES:]
    title, head = "Most telling disagreements", element("thead", top)
    found = [scrolling(title, head, *first, class_="examples")]
    if more:
        rest = scrolling(f"{title}, continued", head, *more, class_="examples")
        found.append(element("details", element("summary", f"{amount(len(more))} more"), rest, class_="more"))
    return found


def _example(example: Mapping[str, Any]) -> list[Html]:
    differences = example["differences"][:MOST_DIFFERENCES]
    more = len(example["differences"]) - len(differences)
    lines = [
        [
            element(
                "td", element("code", short(one["path"])), " ", element("span", one["kind"], class_="aside")
            ),
            element("td", short(one["champion"])),
            element("td", short(one["candidate"])),
        ]
        for one in differences
    ]
    if more or not lines:
        told = f"and {amount(more)} more" if more else "no details"
        lines.append([element("td", told, class_="aside", colspan=3)])
    prediction = [element("code", short(example["prediction_id"])), _when(example["time"])]
    lines[0][:0] = [
        element("th", *prediction, scope="rowgroup", rowspan=len(lines)),
        element("td", element("code", short(example["endpoint"])), rowspan=len(lines)),
    ]
    return [element("tr", *cells) for cells in lines]
