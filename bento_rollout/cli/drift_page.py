"""The report of drift as one HTML document that needs nothing else: no script, no file, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from .drift_plots import evidence_figure, histogram_figure
from .elements import NOTHING, STYLE, Html, amount, element, long_table, percent, short, slug, table

__all__ = ["drift_page"]

MOST_FEATURES = 8
"""Features of one test that are drawn; all of them are in its table."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
.words td:last-child, .alarms td:nth-child(4) { min-width: 15rem; }
.alarms td:nth-child(2) { min-width: 6rem; }
.mark.alarm { stroke: var(--warm); } .key.alarm { background: var(--warm); }
"""
"""Beside `STYLE`: sentences in tables stay broad on a phone; an alarm has another color than the evidence."""

_STATES = {"new": "warm", "acted": "warm", "acknowledged": "cool", "rebased": "cool", "replaced": ""}


def drift_page(report: Mapping[str, Any]) -> str:
    """Return what is known of drift as an HTML document for people.

    Args:
        report: what `drift_report` returns. Its names may hold anything: they are escaped.
    """
    parts = [_header(report)]
    if report["problem"]:
        parts.append(element("p", report["problem"], class_="stuck", role="alert"))
    parts += [element("p", words, class_="lead") for words in report["words"] if words != report["problem"]]
    if report["alarms"]:
        parts.append(_alarms(report["alarms"]))
    for key, test in report["tests"].items():
        parts.append(_section(key, test, [one for one in report["alarms"] if one["test"] == key]))
    parts.append(_footer())
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", f"Drift of {report['rollout']}"),
        element("style", Html(STYLE + _STYLE)),
    )
    document = element("html", head, element("body", element("main", *parts)), lang="en")
    return f"<!DOCTYPE html>\n{document}\n"


def _header(report: Mapping[str, Any]) -> Html:
    badge = ("an alarm is latched", "badge warm") if report["latched"] else ("no alarm", "badge cool")
    told = [element("span", badge[0], class_=badge[1])]
    if (reference := report.get("reference")) is not None:
        words = f"reference of {amount(reference['rows'])} rows from {reference['source']}"
        told.append(element("span", words))
    told.append(element("span", _when(report["time"]), " UTC"))
    facts = element("p", *chain(*((one, " ") for one in told)), class_="meta")
    warnings = [element("p", one, class_="note") for one in (reference or {}).get("warnings", ())]
    eyebrow = element("p", "Drift report", class_="eyebrow")
    return element("header", eyebrow, element("h1", report["rollout"]), facts, *warnings)


def _alarms(alarms: Sequence[Mapping[str, Any]]) -> Html:
    rows = [
        [
            element("code", one["id"]),
            _when(one["at"]),
            element("span", one["state"], class_=f"badge {_STATES.get(one['state'], '')}".strip()),
            one["words"],
            "; ".join(f"{act}: {what}" for act, what in one["acts"].items()) or NOTHING,
            (f"{one['ended_by']}: {one['note']}" if one["note"] else one["ended_by"]) or NOTHING,
        ]
        for one in alarms
    ]
    heads = ["Alarm", "Found", "State", "About", "Did", "Ended by"]
    return element(
        "section", element("h2", "Alarms"), *long_table("Alarms", heads, rows, "alarms"), class_="card"
    )


def _section(key: str, test: Mapping[str, Any], alarms: Sequence[Mapping[str, Any]]) -> Html:
    if test["kind"] == "schema":
        return _built(key, test)
    here = [one for one in alarms if one["epoch"] == test["epoch"]]
    title = {"data": "What comes in"}.get(key, f"How wrong {key.partition('/')[2]} is")
    head = element("div", element("h2", title), _verdict(test), class_="head")
    found = [head, element("p", _lead(test, here), class_="lead"), _figures(test)]
    found += _segments(test)
    if test.get("estimate") is not None:
        found.append(element("p", f"Estimated, not measured: {test['estimate']['words']}.", class_="aside"))
    if test["timeline"]:
        found += [element("h3", "Evidence, row by row"), evidence_figure(test, here), _course(title, test)]
    if test["features"]:
        found += [element("h3", "Features, the strongest evidence first"), *_features(title, test)]
    if len(test["epochs"]) > 1:
        rows = [[str(one["epoch"]), _when(one["time"]), one["why"]] for one in test["epochs"]]
        found += [element("h3", "Epochs"), table(f"{title}: epochs", ["Epoch", "Began", "Why"], rows)]
    return element("section", *found, class_="card", id=f"test-{slug(key)}")


def _built(key: str, test: Mapping[str, Any]) -> Html:
    """Return in which ways rows are built otherwise than the reference."""
    words = ("built otherwise", "badge warm") if test["latched"] else ("as it should be", "badge cool")
    badge = element("span", words[0], class_=words[1])
    found = [element("div", element("h2", "How rows are built"), badge, class_="head")]
    told = "rows are built like the reference's." if not test["changes"] else "rows were looked at."
    found.append(element("p", f"{amount(test['rows'])} {told}", class_="lead"))
    rows = [
        [element("code", short(one["feature"])), one["kind"], amount(one["rows"])] for one in test["changes"]
    ]
    if rows:
        found += long_table("Changes", ["Feature", "What", "#Rows"], rows)
    return element("section", *found, class_="card", id=f"test-{slug(key)}")


def _segments(test: Mapping[str, Any]) -> list[Html]:
    """Return how each segment stands, and which are not tested by themselves."""
    rows = [
        [
            element("code", short(one["name"])),
            amount(one["rows"]),
            one["odds"],
            "certain" if one["certain"] else "quiet",
        ]
        for one in test.get("segments", ())
    ]
    found = long_table("Segments", ["Segment", "#Rows", "#Evidence", "Is"], rows) if rows else []
    notes = [element("p", note, class_="stuck") for note in test.get("notes", ())]
    return [*([element("h3", "Segments")] if rows or notes else []), *found, *notes]


def _verdict(test: Mapping[str, Any]) -> Html:
    if test["acting"]:
        return element("span", "certain and large", class_="badge warm")
    if test["certain"]:
        return element("span", "certain, not large", class_="badge warm")
    if test.get("waits") is not None:
        return element("span", "not tested", class_="badge")
    return element("span", "quiet", class_="badge cool")


def _lead(test: Mapping[str, Any], alarms: Sequence[Mapping[str, Any]]) -> str:
    strong = [one["words"] for one in test["features"] if one["log_evidence"] >= test["alarm_at"]]
    if strong:
        return f"It has changed: {'; '.join(strong[:MOST_FEATURES])}."
    if (why := test.get("waits")) is not None:
        return f"Nothing is tested now: {why}."
    if test["log_evidence"] >= test["alarm_at"] and test.get("loss"):  # losses have no features
        means = f"it was {test['before']:.3g} on average, and is {test['recent']:.3g}"
        found = "; ".join(one["words"] for one in alarms) or "predictions are wrong more often"
        return f"It has changed: {found}. By its {test['loss']} loss: {means}."
    if test["certain"]:
        return "It had changed when the alarm was found; by now nothing is certain."
    return f"Nothing is certain after {amount(test['rows'])} rows: the evidence is {test['odds']}, and an alarm needs {test['odds_needed']}."  # noqa: E501


def _figures(test: Mapping[str, Any]) -> Html:
    figures = [
        ("Rows", amount(test["rows"])),
        ("Epoch", amount(test["epoch"])),
        ("Evidence", test["odds"]),
        ("Alarm at", test["odds_needed"]),
    ]
    if test.get("coverage") is not None:
        figures.append(("Labelled", percent(test["coverage"])))
    return element("dl", *(element("div", element("dt", k), element("dd", v)) for k, v in figures))


def _course(title: str, test: Mapping[str, Any]) -> Html:
    """Return the timeline as a table, behind a fold."""
    step = max(1, len(test["timeline"]) // 50)
    rows = [
        [amount(one["row"]), _when(one["time"]), f"{one['log_evidence']:.2f}", ", ".join(one["features"])]
        for one in test["timeline"][::-step]
    ]
    inside = table(f"{title}: evidence by row", ["Row", "Time", "#ln of the evidence", "Strongest"], rows)
    return element("details", element("summary", "The numbers"), inside, class_="more")


def _features(title: str, test: Mapping[str, Any]) -> list[Html]:
    heads = ["Feature", "Kind", "#Evidence", "#PSI", "#Since row", "In words"]
    rows = [
        [
            element("code", short(one["name"])),
            one["kind"],
            one["odds"],
            NOTHING if one["psi"] is None else f"{one['psi']:.3f}",
            NOTHING if one["since_row"] is None else amount(one["since_row"]),
            one["words"],
        ]
        for one in test["features"]
    ]
    drawn = [_feature(one) for one in test["features"][:MOST_FEATURES] if one["reference_histogram"]]
    return [*long_table(f"{title}: features", heads, rows, "words"), element("div", *drawn, class_="halves")]


def _feature(one: Mapping[str, Any]) -> Html:
    before, now = one["reference_histogram"], one["recent_histogram"]
    totals = sum(before) or 1, sum(now) or 1
    rows = [
        [short(label, 40), percent(a / totals[0]), percent(b / totals[1])]
        for label, a, b in zip(one["labels"], before, now, strict=True)
    ]
    bins = table(f"Bins of {one['name']}", ["Bin", "#Reference", "#Recent rows"], rows)
    fold = element("details", element("summary", "The numbers"), bins, class_="more")
    psi = "" if one["psi"] is None else f"  PSI {one['psi']:.3f}"
    title = element("h4", element("code", short(one["name"])), element("span", psi, class_="aside"))
    return element("div", title, histogram_figure(one), fold)


def _footer() -> Html:
    return element(
        "footer",
        "Evidence is how many times likelier the rows are if something changed than by chance. It may be "
        "looked at as often as one likes: the chance that it ever reaches the alarm without a change is at "
        "most what the settings say. Rows that depend on each other, and daily cycles, count as a change.",
    )


def _when(time: object) -> Html:
    """Return a time of the report as people read it."""
    return element("time", str(time).partition(".")[0].replace("T", " "), datetime=str(time))
