"""What `bentofile.yaml` says of this package is what `pyproject.toml` says."""

from __future__ import annotations

from importlib.metadata import requires
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
BENTOFILE = yaml.safe_load((ROOT / "bentofile.yaml").read_text(encoding="utf-8"))


def bounds(*requirements: str) -> set[tuple[str, str]]:
    """Return name and versions of the requirements that hold without an extra."""
    parsed = [Requirement(text) for text in requirements]
    return {(canonicalize_name(item.name), str(item.specifier)) for item in parsed if item.marker is None}


def test_the_bento_requires_what_the_package_requires() -> None:
    """Every dependency of the packed library is among the bento's, with the same bounds."""
    declared = bounds(*(requires("bento-rollout") or ()))
    assert declared, "the package declares dependencies"
    assert declared <= bounds(*BENTOFILE["python"]["packages"])


def test_the_bento_includes_files_that_exist() -> None:
    """No line of ``include`` is left over from a file that moved."""
    missing = [pattern for pattern in BENTOFILE["include"] if not any(ROOT.glob(pattern))]
    assert missing == []
