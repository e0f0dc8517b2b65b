"""Prints every direct dependency of the package and its extras, pinned to its declared lower bound."""

from __future__ import annotations

from importlib.metadata import requires

from packaging.requirements import Requirement

PACKAGE = "bento-rollout"


def lowest(requirement: Requirement) -> str:
    """Return ``name==bound`` for a requirement; one without a lower bound is an error.

    >>> lowest(Requirement("numpy>=1.26.4,<3"))
    'numpy==1.26.4'
    """
    bounds = [part.version for part in requirement.specifier if part.operator in (">=", "==", "~=")]
    if len(bounds) != 1:
        raise SystemExit(f"{requirement}: write exactly one lower bound, so that it can be tested")
    return f"{requirement.name}=={bounds[0]}"


def main() -> None:
    """Print the pins, one a line."""
    requirements = [Requirement(text) for text in requires(PACKAGE) or ()]
    for pin in sorted({lowest(item) for item in requirements if item.name != PACKAGE}):
        print(pin)


if __name__ == "__main__":
    main()
