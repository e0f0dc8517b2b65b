"""HTML elements that escape what they hold; numbers and tables for people; how all of it looks."""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

__all__ = [
    "NOTHING", "STYLE", "THIN", "Html", "amount", "calls", "confusion_table", "duration", "element",
    "long_table", "percent", "scrolling", "short", "slug", "span", "table",
]  # fmt: skip

THIN = "\u202f"
"""A narrow space at which no line breaks: between groups of digits, and before a unit."""

NOTHING = "\u2013"
"""What stands where there is no number."""

MOST_ROWS = 50
"""Rows of one table."""

FIRST_ROWS = 10
"""Rows of a table that are shown before one asks for all."""

_VOID = frozenset({"meta", "rect", "line", "circle"})
_UNSAFE = dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(127, 160)), "\ufffd")
_PLAIN = re.compile(r"[A-Za-z0-9_.-]")
_DIGITS = 4
"""Decimals of a percentage, at most."""


class Html(str):
    """Markup; any other text is escaped where it is put into an element."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | float | None) -> Html:
    """Return an element whose children and attributes are escaped, except those that are `Html`.

    Args:
        tag: its name.
        children: text and elements.
        attributes: a trailing ``_`` falls away, others become ``-``; None: the attribute is left out.

    >>> element("td", "a < ", element("b", "2"), class_="x", title=None, data_x=1)
    '<td class="x" data-x="1">a &lt; <b>2</b></td>'
    """
    names = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    inside = "".join(f' {name}="{_safe(str(value))}"' for name, value in names.items() if value is not None)
    if tag in _VOID:
        return Html(f"<{tag}{inside}/>")
    return Html(f"<{tag}{inside}>{''.join(map(_escaped, children))}</{tag}>")


def _escaped(child: str) -> str:
    return child if isinstance(child, Html) else _safe(child)


def _safe(text: str) -> str:
    """Return text escaped, without what UTF-8 cannot write and documents may not hold."""
    return html.escape(text.encode("utf-8", "replace").decode().translate(_UNSAFE))


def short(text: object, longest: int = 120) -> str:
    """Return text that is cut where it is too long."""
    found = str(text)
    return found if len(found) <= longest else f"{found[: longest - 1]}\u2026"


def slug(name: str) -> str:
    """Return a name as a part of an id; different names stay different.

    >>> slug("a b.c")
    'a~20~b.c'
    """
    return "".join(c if _PLAIN.fullmatch(c) else f"~{ord(c):x}~" for c in name)


# -- numbers -------------------------------------------------------------------------------------------


def amount(number: int | str) -> str:
    """Return a count in groups of three digits; what is no count, as it is.

    >>> amount(1234567).replace(THIN, " ")
    '1 234 567'
    """
    return f"{number:,}".replace(",", THIN) if isinstance(number, int) else number


def calls(number: int) -> str:
    """Return a number of calls in words.

    >>> calls(1)
    '1 call'
    """
    return f"{amount(number)} call{'' if number == 1 else 's'}"


def percent(share: float | None, *, unit: bool = True) -> str:
    """Return a share in percent; only what is all or nothing is said to be.

    >>> [percent(share, unit=False) for share in (0.973, 1.0, 0.9996, 0.99996, 0.004, 1e-9)]
    ['97.3', '100', '99.96', '99.996', '0.4', '<0.0001']
    """
    if share is None:
        return NOTHING
    if 0 < share < 1:
        short = max(round(min(share, 1 - share) * 100, 9), 1e-9)
        digits = max(1, math.ceil(-math.log10(short)))
        text = f"{share * 100:.{digits}f}"
        if digits > _DIGITS:
            text = "<0.0001" if share < 0.5 else ">99.9999"  # noqa: PLR2004 - which of the two ends
    else:
        text = f"{share * 100:.0f}"
    return text + (f"{THIN}%" if unit else "")


def span(low: float | None, high: float | None) -> str:
    """Return the bounds of a share, like ``96.1 to 98.2 %``."""
    return f"{percent(low, unit=False)}\u00a0to\u00a0{percent(high)}"


def duration(seconds: float | None, *, round_: bool = False) -> str:
    """Return a duration with three digits, in the unit that suits it; of a round one without its zeros.

    >>> [duration(x).replace(THIN, " ") for x in (4.2e-5, 0.0012345, 0.25, 12.0, 4000.0)]
    ['42.0 \u00b5s', '1.23 ms', '250 ms', '12.0 s', '4 000 s']
    """
    if seconds is None:
        return NOTHING
    scale, unit = (1e6, "\u00b5s") if seconds < 0.9995e-3 else (1e3, "ms") if seconds < 0.9995 else (1, "s")  # noqa: PLR2004 - units
    number = seconds * scale
    if number >= 999.5:  # noqa: PLR2004 - three digits
        text = amount(round(number))
    else:
        text = f"{number:.3g}" if round_ else f"{number:#.3g}".rstrip(".")
    return f"{text}{THIN}{unit}"


# -- tables --------------------------------------------------------------------------------------------


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], class_: str | None = None) -> Html:
    """Return a table that scrolls by itself where it is too wide; the first cell of a row names it.

    Args:
        title: what it shows; for those who cannot see it.
        heads: of the columns; one that begins with ``#`` is a column of numbers.
        rows: text and elements.
        class_: how it looks.
    """
    kinds = ["n" if head.startswith("#") else None for head in heads]
    top = [
        element("th", head.removeprefix("#"), scope="col", class_=kind)
        for head, kind in zip(heads, kinds, strict=True)
    ]
    lines = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell, class_=kind) for cell, kind in zip(row[1:], kinds[1:], strict=True)),
        )
        for row in rows
    ]
    return scrolling(title, element("thead", element("tr", *top)), element("tbody", *lines), class_=class_)


def long_table(
    title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], class_: str | None = None
) -> list[Html]:
    """Return a table of the first rows, and one of all others behind a fold."""
    found = [table(title, heads, rows[:FIRST_ROWS], class_)]
    more = rows[FIRST_ROWS:MOST_ROWS]
    if more:
        summary = element("summary", f"{amount(len(more))} more")
        rest = table(f"{title}, continued", heads, more, class_)
        found.append(element("details", summary, rest, class_="more"))
    if len(rows) > MOST_ROWS:
        found.append(element("p", f"{amount(len(rows) - MOST_ROWS)} rarer ones are left out.", class_="none"))
    return found


def scrolling(title: str, *parts: Html, class_: str | None = None) -> Html:
    """Return the parts of a table as one that scrolls by itself where it is too wide."""
    inside = element("table", element("caption", title), *parts, class_=class_)
    return element("div", inside, class_="scroll", role="region", aria_label=title, tabindex=0)


def confusion_table(labels: Iterable[Mapping[str, Any]], names: tuple[str, str], most: int) -> Html:
    """Return which labels stand for which: a row for each of the champion's, a column for the candidate's.

    Args:
        labels: ``champion``, ``candidate`` and ``count``.
        names: what the two variants are called.
        most: labels that are told apart; all further ones share a row and a column.
    """
    pairs = [(str(row["champion"]), str(row["candidate"]), int(row["count"])) for row in labels]
    totals: Counter[str] = Counter()
    for champion, candidate, number in pairs:
        totals.update({champion: number, candidate: number} if champion != candidate else {champion: number})
    kept = sorted((label for label, _ in totals.most_common(most)), key=_natural)
    heads: list[str | None] = [*kept, *([None] if len(totals) > len(kept) else [])]
    counts: Counter[tuple[str | None, str | None]] = Counter()
    for champion, candidate, number in pairs:
        counts[champion if champion in kept else None, candidate if candidate in kept else None] += number
    others = element("em", f"{len(totals) - len(kept)} others")
    shown = [others if head is None else short(head, 24) for head in heads]
    corner = element("th", f"{short(names[0], 24)} \u2193 \u00b7 {short(names[1], 24)} \u2192", scope="col")
    cells = (
        element("th", name, scope="col", class_="n", title=head and short(head, 300))
        for name, head in zip(shown, heads, strict=True)
    )
    top = element("tr", corner, *cells, element("th", "agree", scope="col", class_="n"))
    lines = (
        element(
            "tr",
            element("th", name, scope="row", title=head and short(head, 300)),
            *_heat(head, heads, counts),
        )
        for name, head in zip(shown, heads, strict=True)
    )
    title = f"Labels: {names[0]} in rows, {names[1]} in columns"
    return scrolling(title, element("thead", top), element("tbody", *lines), class_="confusion")


def _heat(
    champion: str | None, heads: Sequence[str | None], counts: Mapping[tuple[str | None, str | None], int]
) -> Iterator[Html]:
    """Yield the cells of one row, each as warm as its part of the row, and how much of it agrees."""
    total = sum(counts.get((champion, head), 0) for head in heads)
    for head in heads:
        number = counts.get((champion, head), 0)
        kind = "n same" if head == champion is not None else "n"
        style = f"--heat:{math.sqrt(number / total):.3f}" if number else None
        yield element("td", amount(number) if number else "", class_=kind, style=style)
    agreed = counts.get((champion, champion), 0) / total if total and champion is not None else None
    yield element("td", percent(agreed), class_="n")


def _natural(label: str) -> tuple[float, str]:
    """Return what sorts numbers by size, and before words."""
    try:
        number = float(label)
    except ValueError:
        number = math.inf
    return (math.inf if math.isnan(number) else number), label


# -- looks ---------------------------------------------------------------------------------------------

STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --text: #1c2430; --soft: #586274;
  --line: #e1e5eb; --wash: #f0f2f6; --champion: #8995a8; --champion-text: #586274; --candidate: #3f5bd9;
  --noise: #d9a441; --warm: #9a4a06; --warm-wash: #fdeedd; --cool: #17644f; --cool-wash: #e2f4ee;
  --bad: #b3261e; --bad-wash: #fdecea; }
@media (prefers-color-scheme: dark) { :root {
  --page: #12151a; --card: #1a1f27; --text: #e5e9f0; --soft: #9fabbd;
  --line: #2d3541; --wash: #232a34; --champion: #76849a; --champion-text: #9fabbd; --candidate: #8fa4ff;
  --noise: #b98a34; --warm: #f5b26b; --warm-wash: #3a2a17; --cool: #7fd1b4; --cool-wash: #17332b;
  --bad: #ff9d94; --bad-wash: #411c1a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: clamp(1.25rem, 4vw, 3rem) clamp(.75rem, 3vw, 2rem); }
h1, h2, h3, h4, p, dl, dd, figure { margin: 0; overflow-wrap: anywhere; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -.02em; }
h2 { font-size: 1.4rem; line-height: 1.25; letter-spacing: -.01em; }
h3, h4 { margin: 2.25rem 0 .6rem; font-size: 1rem; line-height: 1.4; }
code { font: .86em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  unicode-bidi: isolate; }
a { color: var(--candidate); }
.eyebrow { color: var(--soft); font-size: .8rem; letter-spacing: .08em; text-transform: uppercase; }
.meta, footer, .hint, .none, .aside { color: var(--soft); font-size: .875rem; }
.meta { margin-top: .4rem; }
.meta span + span::before { content: "\u00b7"; margin: 0 .5em 0 .25em; }
.hint { margin-bottom: .6rem; }
.aside { margin-left: .5em; }
.card { margin-top: 1.5rem; padding: clamp(1rem, 3vw, 2rem); background: var(--card);
  border: 1px solid var(--line); border-radius: 12px; }
.head { display: flex; flex-wrap: wrap; gap: .4rem .9rem; align-items: center; }
.badge { padding: .1rem .6rem; border-radius: 99px; background: var(--wash); color: var(--soft);
  font-size: .8rem; font-weight: 500; white-space: nowrap; }
.warm { background: var(--warm-wash); color: var(--warm); }
.cool { background: var(--cool-wash); color: var(--cool); }
.now { margin-top: .35rem; color: var(--soft); font-size: .875rem; }
.stuck, .note { margin-top: .9rem; padding: .6rem .9rem; border-radius: 8px; font-size: .875rem; }
.stuck { background: var(--bad-wash); color: var(--bad); border-left: 4px solid var(--bad); }
.note { background: var(--warm-wash); color: var(--warm); } .stuck p:first-child { font-weight: 600; }
.lead { margin-top: 1.25rem; max-width: 52rem; font-size: 1.125rem; line-height: 1.55; text-wrap: pretty; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: 1px; margin-top: 1.5rem;
  background: var(--line); border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
dl div { padding: .7rem .9rem; background: var(--card); }
dt { color: var(--soft); font-size: .8rem; } dd { font-size: 1.15rem; font-weight: 600; }
dd, .n { font-variant-numeric: tabular-nums; }
figure { margin-top: 1.5rem; } svg { display: block; overflow: visible; }
figcaption { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; margin-top: .4rem; color: var(--soft);
  font-size: .8125rem; }
.key { display: inline-block; width: .75rem; height: .75rem; margin-right: .45rem; border-radius: 3px;
  vertical-align: -.08rem; }
svg text { fill: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
svg text.candidate { fill: var(--candidate); } svg text.champion { fill: var(--champion-text); }
.track { fill: var(--wash); } .tick, .axis { stroke: var(--champion); }
.noise { fill: var(--noise); fill-opacity: .35; }
.floor { stroke: var(--noise); stroke-width: 2; stroke-dasharray: 4 3; }
.ci { fill: var(--candidate); fill-opacity: .4; } line.seen { stroke: var(--candidate); stroke-width: 2; }
circle.seen { fill: var(--candidate); stroke: var(--card); stroke-width: 2; }
.key.seen { background: var(--candidate); border-radius: 50%; }
.key.ci { background: var(--candidate); opacity: .4; }
.key.noise { background: var(--noise); opacity: .6; }
.bar { shape-rendering: crispEdges; }
.bar.champion { fill: var(--champion); fill-opacity: .75; }
.bar.candidate { fill: var(--candidate); fill-opacity: .5; }
.key.champion { background: var(--champion); } .key.candidate { background: var(--candidate); opacity: .7; }
.mark { stroke-width: 1.5; } .p99 { stroke-dasharray: 3 3; }
.mark.champion { stroke: var(--champion-text); } .mark.candidate { stroke: var(--candidate); }
.beside, .halves { display: grid; gap: 0 2.5rem; grid-template-columns: minmax(0, 1fr); align-items: start; }
.beside figure { margin: .5rem 0 1rem; }
.even { table-layout: fixed; min-width: 36rem; } .even th:first-child { width: 36%; }
td .badge { margin-left: .25rem; }
.overview { padding-block: .75rem; }
.overview tbody tr:last-child > * { border-bottom: 0; }
@media (min-width: 52rem) { .beside { grid-template-columns: minmax(0, 5fr) minmax(0, 3fr); }
  .halves { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); } }
.scroll { overflow-x: auto; background:
  linear-gradient(90deg, var(--card) 40%, transparent) 0 / 2rem 100% no-repeat local,
  linear-gradient(270deg, var(--card) 40%, transparent) 100% / 2rem 100% no-repeat local,
  linear-gradient(90deg, var(--line), transparent) 0 / .8rem 100% no-repeat scroll,
  linear-gradient(270deg, var(--line), transparent) 100% / .8rem 100% no-repeat scroll; }
.scroll:focus-visible { outline: 2px solid var(--candidate); outline-offset: 2px; }
table { width: 100%; border-collapse: collapse; font-size: .875rem; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
th, td { padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; font-weight: 400; overflow-wrap: break-word;
  min-width: 3.5rem; max-width: 22rem; }
thead th { color: var(--soft); font-size: .8rem; }
.n { text-align: right; white-space: nowrap; overflow-wrap: normal; }
th:last-child, td:last-child { padding-right: 0; }
.confusion { width: auto; } .confusion thead th { max-width: none; white-space: nowrap; }

.confusion th, .confusion td { padding: .35rem .7rem; border: 1px solid var(--line); }
.confusion tbody td[style] {
  background: color-mix(in srgb, var(--noise) calc(var(--heat) * 55% + 6%), var(--card)); }
.confusion tbody td.same { outline: 2px solid var(--candidate); outline-offset: -3px; }
.confusion tbody td.same[style] {
  background: color-mix(in srgb, var(--candidate) calc(var(--heat) * 30%), var(--card)); }
.confusion th[scope=row] { color: var(--text); }
.examples time { display: block; color: var(--soft); white-space: nowrap; }
.examples tbody th { min-width: 11rem; } .examples .aside { margin-left: 0; }
.examples td + td { min-width: 5rem; } .examples tr:not(:first-child) td { padding-top: 0; }

.examples tbody tr:not(:last-child) td:not([rowspan]) { border-bottom: 0; }
summary { cursor: pointer; }
.more { margin-top: .5rem; font-size: .875rem; }
.more summary { color: var(--candidate); }
.endpoint { border-top: 1px solid var(--line); } .endpoint > summary { padding: .7rem 0; }
.endpoint[open] { padding-bottom: 1.5rem; } footer { margin-top: 1.5rem; padding: 0 .25rem; }
"""
"""The style sheet of everything here, and of the plots."""
