"""What `bentofile.yaml` says of this package is what `pyproject.toml` says."""

from __future__ import annotations

from importlib.metadata import requires
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
BENTOFILE = yaml.safe_load((ROOT / "bentofile.yaml").read_text(encoding="utf-8"))


def test_the_bento_requires_what_the_package_requires() -> None:
    """Every dependency of the packed library is among the bento's, with the same bounds."""
    declared = (Requirement(text) for text in requires("bento-rollout") or ())
    ours = {str(item) for item in declared if item.marker is None}
    assert ours, "the package declares dependencies"
    assert ours <= {str(Requirement(text)) for text in BENTOFILE["python"]["packages"]}


def test_the_bento_includes_files_that_exist() -> None:
    """No line of ``include`` is left over from a file that moved."""
    missing = [pattern for pattern in BENTOFILE["include"] if not any(ROOT.glob(pattern))]
    assert missing == []
