"""`Pages`: templates into HTML, everything escaped; how times, shares and digests are written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..admin.rooted import ROOT
from .assets import Assets

__all__ = ["Pages", "day", "percent"]

FOLDER = Path(__file__).parent / "templates"
THIN = "\u202f"
NONE = "\u2013"


class Pages:
    """Renders pages.

    Args:
        base: the address below which the console is, like ``/rollout/console``.
        assets: what the pages load.
    """

    def __init__(self, base: str, assets: Assets) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {"percent": percent, "day": day, "number": number, "when": when}
        self._base, self._assets = base, assets

    @property
    def base(self) -> str:
        """The address of the console as the person has it who is answered: behind a proxy below its path."""
        return f"{ROOT.get()}{self._base}"

    def __call__(self, template: str, context: Mapping[str, Any]) -> str:
        """Return a template with these values."""
        base, assets = self.base, self._assets
        addresses = {
            "base": base,
            "script": lambda name: _script(base, assets, name),
            "sheet": lambda name: _sheet(base, assets, name),
            "icon": f"{base}/static/{assets['icon.svg'].path}",
        }
        return self._environment.get_template(template).render({**addresses, **context})


def percent(share: float | None, digits: int = 1) -> str:
    r"""Return a share from 0 to 1 as people read it.

    >>> percent(0.0312), percent(1.0), percent(None), percent(float("nan"))
    ('3.1\u202f%', '100\u202f%', '\u2013', '\u2013')
    """
    if share is None or not math.isfinite(share):
        return NONE
    text = f"{share * 100:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}{THIN}%"


def number(value: float | None, digits: int = 2) -> str:
    r"""Return a number as people read it.

    >>> number(12345), number(0.8765), number(None)
    ('12\u202f345', '0.88', '\u2013')
    """
    if value is None or not math.isfinite(value):
        return NONE
    if isinstance(value, int):
        return f"{value:,}".replace(",", THIN)
    return f"{value:.{digits}f}"


def day(seconds: float | None) -> str:
    r"""Return a time in UTC.

    >>> day(0.0), day(None)
    ('1970-01-01 00:00:00', '\u2013')
    """
    if seconds is None:
        return NONE
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def when(value: float | str | None) -> Markup:
    """Return a time, of seconds or of ISO text, as an element; in UTC."""
    if value is None:
        return Markup("&ndash;")
    text = value if isinstance(value, str) else day(value).replace(" ", "T") + "Z"
    plain = text.partition(".")[0].rstrip("Z").replace("T", " ")
    return Markup('<time datetime="{}">{}</time>').format(text, plain)


def _script(base: str, assets: Assets, name: str) -> Markup:
    asset = assets[name]
    return Markup('<script src="{}/static/{}" integrity="{}" defer></script>').format(
        base, asset.path, asset.integrity
    )


def _sheet(base: str, assets: Assets, name: str) -> Markup:
    asset = assets[name]
    return Markup('<link rel="stylesheet" href="{}/static/{}" integrity="{}">').format(
        base, asset.path, asset.integrity
    )
