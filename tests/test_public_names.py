"""What is public: named, documented, and shown by examples that run."""

from __future__ import annotations

import ast
import doctest
import functools
import importlib
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import bento_rollout

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

PUBLIC = [
    "Change",
    "Flip",
    "Hook",
    "Notice",
    "Rollout",
    "RolloutError",
    "RolloutSpec",
    "Variant",
    "Veto",
    "Webhook",
    "__version__",
    "is_shadow",
    "measure",
    "open_rollout",
    "rollout",
]


def name_of(file: Path) -> str:
    """The importable name of a module."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    name_of(file): file for file in sorted((ROOT / "bento_rollout").rglob("*.py")) if file.stem != "__main__"
}


@pytest.fixture(params=FILES, scope="module")
def module(request: pytest.FixtureRequest) -> ModuleType:
    """Each module of the package."""
    return importlib.import_module(request.param)


def test_the_root_has_these_names() -> None:
    """What users import from the package is this, and a change of it is a change of the contract."""
    assert bento_rollout.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(bento_rollout))
    for name in PUBLIC:
        assert getattr(bento_rollout, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'rolout'"):
        _ = bento_rollout.rolout


def test_the_root_tells_types_what_it_tells_programs() -> None:
    """The names that a type checker sees are resolved from the same modules at run time."""
    tree = ast.parse(FILES["bento_rollout"].read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == bento_rollout._HOMES


def test_all_is_true(module: ModuleType) -> None:
    """`__all__` lists names that are there, each once, in ruff's order."""
    names = getattr(module, "__all__", [])
    assert len(set(names)) == len(names)
    for name in names:
        assert hasattr(module, name), name


def test_all_is_whole(module: ModuleType) -> None:
    """What other modules of the package import from a module stands in its `__all__`."""
    assert imported().get(module.__name__, set()) <= set(getattr(module, "__all__", []))


@functools.cache
def imported() -> dict[str, set[str]]:
    """What is imported from each module of the package, by its name."""
    taken: dict[str, set[str]] = {}
    for name, file in FILES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                home = resolved(name, file, node)
                names = {alias.name for alias in node.names if f"{home}.{alias.name}" not in FILES}
                taken.setdefault(home, set()).update(names)
    return taken


def resolved(name: str, file: Path, node: ast.ImportFrom) -> str:
    """The full name of the module that an import is from."""
    if not node.level:
        return str(node.module)
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    return ".".join(
        filter(None, [*package.split(".")[: len(package.split(".")) - node.level + 1], node.module])
    )


def test_what_is_public_has_a_docstring(module: ModuleType) -> None:
    """Each module, and each public class, function and method in it, says what it is."""
    assert module.__doc__
    for name in getattr(module, "__all__", []):
        value = getattr(module, name)
        if not (inspect.isclass(value) or inspect.isfunction(value)) or value.__module__ != module.__name__:
            continue
        assert value.__doc__, name
        for method, found in vars(value).items() if inspect.isclass(value) else ():
            if not method.startswith("_") and inspect.isfunction(found):
                assert found.__doc__, f"{name}.{method}"


def test_examples_in_docstrings_run(module: ModuleType) -> None:
    """Every example in a docstring gives what it says."""
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert found.failed == 0


@pytest.mark.skipif(not PAGES[0].exists(), reason="written last")
@pytest.mark.parametrize("name", [name for name in PUBLIC if not name.startswith("__")])
def test_public_names_are_explained(name: str) -> None:
    """Each public name stands, as code, in the README or in a guide page."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert f"`{name}" in text or f"import {name}" in text or f", {name}" in text
