"""The shape of the code: imports point down, the core is pure, one folder knows BentoML."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "bento_rollout"

LAYERS: dict[str, float] = {
    # L0, words
    "errors": 0.0,
    "revisions": 0.0,
    "eras": 0.0,
    "gauged": 0.0,
    "records": 0.1,
    "ids": 0.0,
    "mixing": 0.0,
    "assessment": 0.0,
    # L1, what is asked and who answers
    "arrays": 1.0,
    "excerpts": 1.1,
    "histogram": 1.0,
    "agreement": 1.0,
    "values": 1.0,
    "addresses": 1.05,
    "references": 1.05,
    "degrees": 1.05,
    "reviewing": 1.06,
    "comparing": 1.1,
    "explaining": 1.1,
    "amounts": 1.1,
    "guardrails": 1.2,
    "analysis": 1.25,
    "asking": 1.15,
    "ask_when": 1.17,
    "review_settings": 1.17,
    "segments": 1.18,
    "automating": 1.2,
    "choosing": 1.16,
    "disposing": 1.28,
    "scoring": 1.28,
    "automation": 1.27,
    "drift": 1.27,
    "steps": 1.2,
    "strategy": 1.26,
    "amending": 1.27,
    "served": 1.28,
    "judging": 1.2,
    "kept": 1.2,
    "drift_source": 1.2,
    "drifting": 1.25,
    "kinds": 1.1,
    "closeness": 1.1,
    "duplicates": 1.12,
    "findings": 1.12,
    "multisets": 1.13,
    "differences": 1.15,
    "labels": 1.15,
    "comparison": 1.2,
    "keys": 1.1,
    "targets": 1.2,
    "leases": 1.2,
    "spec": 1.3,
    "assignment": 1.3,
    "code_part": 1.35,
    "sums": 1.1,
    "arms": 1.2,
    "units": 1.25,
    "past": 1.32,
    "rounds": 1.32,
    "exams": 1.33,
    "evidence": 1.3,
    "label_evidence": 1.31,
    "concept": 1.32,
    "telemetry.paths": 1.1,
    "telemetry.masking": 1.2,
    "terms": 1.4,
    "rows": 1.3,
    # L2, what may change
    "settling": 2.0,
    "granting": 2.0,
    "position": 2.0,
    "decision": 2.05,
    "bench": 2.02,
    "notes": 2.06,
    "looking": 2.06,
    "attempt": 2.06,
    "course": 2.07,
    "policy": 2.1,
    "behaviour": 2.1,
    "columns": 2.1,
    "call_rows": 2.09,
    "featuring": 2.1,
    "traffic": 2.15,
    "simulation": 2.2,
    "forecast": 2.25,
    "replaying": 2.3,
    "ladder": 2.0,
    "standing": 2.05,
    "snapshot": 2.09,
    "grading": 2.095,
    "calibrating": 2.06,
    "degree_report": 2.2,
    "degree_verbs": 3.39,
    "manner": 2.0,
    "showing": 3.0,
    "suggesting": 3.05,
    "manual": 3.35,
    "review_report": 3.35,
    "review_verbs": 3.39,
    "state": 2.1,
    "deciding": 2.15,
    "alarms": 2.0,
    "sifting": 2.0,
    "notice": 2.2,
    "telling": 2.2,
    "applying": 2.3,
    "governing": 2.35,
    # L3, files and locks and logs, and the verbs over them
    "telemetry": 3.01,
    "specfile": 3.0,
    "artifacts": 3.0,
    "threads": 3.0,
    "arena": 3.0,
    "pipe": 3.05,
    "hooks": 3.0,
    "posting": 3.0,
    "webhook": 3.01,
    "tally": 3.05,
    "store": 3.1,
    "reference_file": 3.05,
    "drift_reference": 3.15,
    "reference_holder": 3.2,
    "outbox": 3.1,
    "answer_json": 3.0,
    "courier": 3.2,
    "mailing": 3.3,
    "notifier": 3.2,
    "labelling": 3.2,
    "opening": 3.2,
    "precedence": 3.2,
    "view": 3.2,
    "gauges": 3.25,
    "advising": 3.25,
    "committing": 3.3,
    "preparation": 3.35,
    "contact": 3.2,
    "feed": 3.3,
    "governor": 3.35,
    "flips": 3.3,
    "reports": 3.3,
    "shadow_report": 3.35,
    "drift_report": 3.35,
    "drift_acts": 3.5,
    "drift_hand": 3.36,
    "drift_verbs": 3.37,
    "schema_watch": 3.3,
    "drift_watch": 3.3,
    "drift_parts": 3.25,
    "drift_wanted": 3.35,
    "drift_estimates": 3.35,
    "concept_watch": 3.3,
    "drift_monitor": 3.6,
    "drift_latches": 3.2,
    "tries": 3.3,
    "reader": 3.38,
    "trying": 3.39,
    "outlining": 2.07,
    "pacing": 2.05,
    "hand": 2.07,
    "contest": 3.3,
    "controller": 3.6,
    "late": 3.6,
    "seen": 3.35,
    "operations": 3.4,
    "worker": 3.4,
    # L4, one call at a time
    "calls": 3.9,
    "budgets": 3.9,
    "copying": 3.9,
    "shadowing": 3.92,
    "measuring": 3.93,
    "executor": 3.95,
    "refuting": 2.02,
    "holding": 3.95,
    "limited": 3.95,
    "preferring": 3.0,
    "proof": 3.0,
    "gates": 3.95,
    "keeping": 3.95,
    "readiness": 3.95,
    "witness": 3.96,
    "waiting": 3.97,
    "watching": 3.97,
    "matching": 3.98,
    "lane": 3.98,
    "shadow": 3.99,
    "predictions": 3.95,
    "runs": 3.99,
    "router": 4.0,
    "row_calls": 4.1,
    # L5, the operators' door, which is mounted in the service; then the only folder that knows BentoML
    "admin": 5.0,
    "distant": 5.01,
    "console": 5.02,
    "examine": 5.05,
    "bento": 5.1,
    # L6, doors that stand by themselves
    "cli": 6.0,
    "testing": 6.0,
    # The root resolves its names lazily, from wherever they are.
    "": 7.0,
}
"""A module, or a folder as a whole, may import what has a lower number. A new one must be added here."""

PURE = 3.0
"""Below it: no clock, no randomness, no log, no input or output."""

PURE_IMPORTS = frozenset(
    {
        "__future__",
        "bisect",
        "collections",
        "dataclasses",
        "enum",
        "functools",
        "itertools",
        "math",
        "numbers",
        "re",
        "reprlib",
        "typing",
    }
    | {"mmh3", "numpy", "pydantic"}
)
MORE_IMPORTS = {
    "addresses": {"urllib"},
    "arrays": {"sys"},
    "excerpts": {"contextlib", "sys"},
    "rows": {"sys"},
    "code_part": {"hashlib", "json"},
    "concept": {"base64", "json"},
    "duplicates": {"copy", "pickle", "sys"},
    "drift.features": {"sys"},
    "drift.frames": {"json", "zlib"},
    "drift.reference_form": {"hashlib", "json"},
}
"""They ask `sys.modules` whether anybody imported numpy or pandas: else nothing is an array or a frame.

Of urllib only what takes an address apart is used.

A copy in memory is neither input nor output, nor are bytes, a checksum and a digest.
"""

DOORS = {"artifacts": {"bento.sealed_model"}}
"""What users import from a door and lies above it: loaded when it is asked for, named for type checkers."""

IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "breakpoint"})

LINES = 400

FILES = sorted(ROOT.rglob("*.py"))


def module_of(file: Path) -> str:
    """The dotted name of a module within the package; the root's is empty."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}


def imports_of(module: str) -> tuple[set[str], set[str]]:
    """What a module imports, at its top or later: modules of ours, and top-level packages of others."""
    file, ours, others = MODULES[module], set(), set()
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    package = [part for part in package if part]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            others |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            others.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1], *filter(None, [node.module])]
            for alias in node.names:
                name = ".".join([*base, alias.name])
                ours.add(name if name in MODULES else ".".join(base))
    return ours, others


def part_of(module: str) -> str:
    """The entry of `LAYERS` that a module belongs to."""
    return module if module in LAYERS else module.partition(".")[0]


def test_every_module_has_its_layer() -> None:
    """Each module stands in the table, and the table names nothing that is not there."""
    assert {part_of(module) for module in MODULES} == set(LAYERS)


@pytest.mark.parametrize("module", MODULES, ids=lambda name: name or "root")
def test_imports_point_down(module: str) -> None:
    """A module imports only what lies strictly below it, or its own folder."""
    ours, _ = imports_of(module)
    part = part_of(module)
    up = {name for name in ours if part_of(name) != part and LAYERS[part_of(name)] >= LAYERS[part]}
    assert up - DOORS.get(module, set()) == set()


@pytest.mark.parametrize("folder", [name for name in LAYERS if (ROOT / name).is_dir() and name])
def test_folders_have_no_circles(folder: str) -> None:
    """Within a folder no module imports itself by a detour; what a type checker follows does not count."""
    inside = {name: at_run_time(name) for name in MODULES if part_of(name) == folder}
    while free := {name for name, needs in inside.items() if not needs & inside.keys() - {name}}:
        inside = {name: needs for name, needs in inside.items() if name not in free}
    assert inside == {}


def at_run_time(module: str) -> set[str]:
    """The modules of ours that are imported when a module is."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.If, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = []
    package = [part for part in module.split(".") if part]
    if MODULES[module].name != "__init__.py":
        package = package[:-1]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *filter(None, [node.module])]
            names = {".".join([*base, alias.name]) for alias in node.names}
            found |= {name for name in names if name in MODULES} or {".".join(base)}
    return found


CORE = [module for module in MODULES if LAYERS[part_of(module)] < PURE]


@pytest.mark.parametrize("module", CORE)
def test_the_core_is_pure(module: str) -> None:
    """What decides imports neither clock nor randomness nor logs, and opens and prints nothing."""
    _, others = imports_of(module)
    assert others <= PURE_IMPORTS | MORE_IMPORTS.get(module, set())
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert calls & IMPURE_CALLS == set()


@pytest.mark.parametrize("module", [name for name in MODULES if part_of(name) != "bento"])
def test_one_folder_knows_bentoml(module: str) -> None:
    """Outside ``bento/`` nothing imports BentoML, not even late."""
    _, others = imports_of(module)
    assert {name for name in others if name.strip("_").startswith("bentoml")} == set()


@pytest.mark.parametrize("module", MODULES, ids=lambda name: name or "root")
def test_modules_are_short(module: str) -> None:
    """A module that grows past 400 lines holds two nouns."""
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= LINES


def loaded_by(statement: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after a statement."""
    code = f"import sys; {statement}; print(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = frozenset({"bentoml", "_bentoml_sdk", "_bentoml_impl", "numpy", "pydantic", "starlette", "structlog"})


def test_importing_the_package_imports_nothing_slow() -> None:
    """`import bento_rollout` loads neither BentoML nor numpy: names are resolved when they are used."""
    assert loaded_by("import bento_rollout") & HEAVY == set()


def test_operating_a_rollout_needs_no_bentoml() -> None:
    """A script that opens a rollout never loads BentoML, nor a web framework."""
    loaded = loaded_by(
        "from bento_rollout import open_rollout, RolloutSpec, Veto, RolloutError, Flip, Change"
    )
    assert loaded & {"bentoml", "_bentoml_sdk", "_bentoml_impl", "starlette"} == set()
