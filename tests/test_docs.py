"""README and guide pages say what is true: commands run, names exist, links lead somewhere."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from pydantic import BaseModel

from bento_rollout.automating import Audit, Automation, Decisions, Overflow, Overlap, Review, ReviewWebhook
from bento_rollout.cli.commands import commands as cli
from bento_rollout.drifting import Concept, Data, Drift, Effect, OnAlarm, Sampling, Segments, Source
from bento_rollout.errors import RolloutError
from bento_rollout.guardrails import Agreement, ErrorRate, Guardrail, Label, Latency, Measure, Threshold
from bento_rollout.judging import Judging
from bento_rollout.records import Reason
from bento_rollout.spec import (
    RESPONSE_HEADERS,
    BlueGreen,
    Ledger,
    Limits,
    Logging,
    RolloutSpec,
    Routing,
    Shadow,
)
from bento_rollout.specfile import parse_spec
from bento_rollout.steps import BakeAfter, Canary, Pause, Step, Swap
from bento_rollout.strategy import Strategy
from bento_rollout.targets import Target
from tests.integration.running import Server

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(name: str) -> str:
    """The text of a guide page."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def everything() -> str:
    """All pages."""
    return "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


# -- the tour ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """One line behind a prompt, and what the page shows below it; `…` stands for anything."""

    line: str
    shown: str

    @property
    def pattern(self) -> str:
        """What the output must be, whatever the width of its columns."""
        lines = []
        for line in self.shown.splitlines():
            parts = (re.escape(" ".join(part.split())) for part in line.split("…"))
            lines.append(r"(?:.*\n)*?" if line.strip() == "…" else r"\s?.*\s?".join(parts) + r"\n")
        return "".join(lines)

    def check(self, output: str) -> None:
        """Fail unless the page shows this output."""
        plain = "".join(" ".join(line.split()) + "\n" for line in output.splitlines())
        assert re.fullmatch(self.pattern, plain), (
            f"$ {self.line}\n{output}\nis not what the page shows:\n{self.shown}"
        )


def commands_in(block: str) -> Iterator[Command]:
    """The commands of a console block."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, _, shown = part.partition("\n")
        yield Command(line, shown)


def test_the_tour(tmp_path: Path) -> None:
    """Who follows the README's tour, file by file and command by command, sees what it shows."""
    server: Server | None = None
    ran = 0
    try:
        for language, block in BLOCK.findall(README.read_text(encoding="utf-8")):
            if (title := re.match(r"# (\w+\.\w+)\n", block)) is not None:
                (tmp_path / title[1]).write_text(block, encoding="utf-8")
            for command in commands_in(block) if language == "console" else ():
                ran += 1
                if command.line == "bentoml serve service:Greeter":
                    if server is not None:
                        server.stop()
                    server = Server(
                        "service:Greeter", tmp_path, rollout="greeter", workers=2, cwd=tmp_path
                    ).ready()
                else:
                    assert server is not None
                    command.check(in_shell(command.line, server, tmp_path))
    finally:
        if server is not None:
            server.stop()
    assert ran > 10


def in_shell(line: str, server: Server, folder: Path) -> str:
    """What a command prints, in the environment of the tour."""
    found = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line.replace("localhost:3000", f"127.0.0.1:{server.port}")],
        cwd=folder,
        env=server.environment(PATH=found, COLUMNS="200"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_wildcards_are_no_wildcards_for_everything() -> None:
    """The comparison itself refuses what is not shown."""
    command = Command("status", "rollout  greeter\n…\nlast line …\n")
    command.check("rollout    greeter\nmore\nand more\nlast line 5\n")
    for output in (
        "rollout other\nmore\nlast line 5\n",
        "rollout greeter\nmore\n",
        "rollout greeter\nlast line 5\nmore\n",
    ):
        with pytest.raises(AssertionError):
            command.check(output)


# -- blocks in the guide pages ----------------------------------------------------------------------------

PYTHON = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES[1:]
    for number, (language, block) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
    if language == "python"
]


@pytest.mark.parametrize("block", PYTHON)
def test_python_in_the_guide_runs(block: str, tmp_path: Path) -> None:
    """Python shown in a guide page runs as a script."""
    script = tmp_path / "shown.py"
    script.write_text(block, encoding="utf-8")
    environ = {
        **os.environ,
        "BENTOML_HOME": str(tmp_path),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_yaml_in_the_guide_is_valid() -> None:
    """Every YAML block is a spec that can be used as it stands."""
    blocks = [
        block
        for page in PAGES
        for language, block in BLOCK.findall(page.read_text(encoding="utf-8"))
        if language == "yaml"
    ]
    assert len(blocks) >= 2
    for block in blocks:
        assert parse_spec(block.encode(), "shown").name


BENTOFILES = [block for language, block in BLOCK.findall(text_of("building.md")) if language == "yml"]


@pytest.mark.parametrize("bentofile", BENTOFILES, ids=["source", "package"])
def test_the_bentofiles_in_the_guide_build(bentofile: str, tmp_path: Path) -> None:
    """As they stand, beside the tour's files: with the spec inside, and the library where they say so."""
    for _, block in BLOCK.findall(README.read_text(encoding="utf-8")):
        if (title := re.match(r"# (service\.py|rollout\.yaml)\n", block)) is not None:
            (tmp_path / title[1]).write_text(block, encoding="utf-8")
    (tmp_path / "bentofile.yaml").write_text(bentofile, encoding="utf-8")
    packed = "bento_rollout/**" in bentofile
    ((copy, build),) = [
        [command.line for command in commands_in(block)]
        for language, block in BLOCK.findall(text_of("building.md"))
        if language == "console" and "$ bentoml build" in block
    ]
    found = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {
        **os.environ,
        "PATH": found,
        "BENTOML_HOME": str(tmp_path / "home"),
        "BENTOML_DO_NOT_TRACK": "1",
    }
    for line in (copy.replace("CHECKOUT", str(ROOT)), build) if packed else (build,):
        done = subprocess.run(
            ["bash", "-c", line],
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    (source,) = (tmp_path / "home" / "bentos").glob("*/*/src")
    spec = (source / "rollout.yaml").read_text(encoding="utf-8")
    assert spec == (tmp_path / "rollout.yaml").read_text(encoding="utf-8")
    assert (source / "bento_rollout" / "cli" / "__init__.py").exists() == packed


def test_the_bentofile_with_the_library_as_source_lists_what_it_needs() -> None:
    """Its packages are the library's dependencies, with the same bounds."""
    (packages,) = [
        yaml.safe_load(text)["python"]["packages"] for text in BENTOFILES if "bento_rollout/**" in text
    ]
    needed = [Requirement(line) for line in requires("bento-rollout") or ()]
    listed = {(package.name.lower(), package.specifier) for package in map(Requirement, packages)}
    assert {(one.name.lower(), one.specifier) for one in needed if one.marker is None} <= listed


# -- names ------------------------------------------------------------------------------------------------

MODELS: dict[str, type[BaseModel]] = {
    "routing.": Routing,
    "variants.NAME.": Limits,
    "shadow.NAME.": Shadow,
    "targets.NAME.": Target,
    "blue_green.": BlueGreen,
    "log.": Logging,
    "ledger.": Ledger,
    "labels.NAME.": Judging,
    "automation.NAME.": Automation,
    "automation.NAME.audit.": Audit,
    "automation.NAME.decisions.": Decisions,
    "automation.NAME.review.": Review,
    "automation.NAME.review.overlap.": Overlap,
    "automation.NAME.review.overflow.": Overflow,
    "automation.NAME.review.webhook.": ReviewWebhook,
    "drift.": Drift,
    "drift.reference.": Source,
    "drift.data.": Data,
    "drift.data.effect.": Effect,
    "drift.data.sampling.": Sampling,
    "drift.data.segments.": Segments,
    "drift.concept.": Concept,
    "drift.on_alarm.": OnAlarm,
    "strategy.": Strategy,
    "strategy.canary.": Canary,
    "strategy.canary.steps.": Step,
    "strategy.canary.steps.pause.": Pause,
    "strategy.canary.bake_after.": BakeAfter,
    "strategy.blue_green.": Swap,
}
GUARDRAILS: tuple[type[Guardrail], ...] = (ErrorRate, Latency, Agreement, Label, Measure, Threshold)


def test_every_field_of_the_spec_is_explained() -> None:
    """Each field stands in a table of docs/spec.md, and the tables name no other."""
    nested = {
        f"{prefix}{field.alias or name}"
        for prefix, model in MODELS.items()
        for name, field in model.model_fields.items()
    }
    nested |= {
        f"strategy.guardrails.NAME.{field.alias or name}"
        for model in GUARDRAILS
        for name, field in model.model_fields.items()
    }
    plain = set(RolloutSpec.model_fields) - {prefix.partition(".")[0] for prefix in MODELS}
    expected = nested | (plain - {"weights"}) | {"weights.NAME"}
    rows = re.findall(r"^\| `([\w.]+)` \|", text_of("spec.md"), re.MULTILINE)
    assert sorted(rows) == sorted(expected)


def test_every_verb_is_explained() -> None:
    """Each command stands in a table, with the options that it has; and no page names another command."""
    pages = everything()
    for name, command in cli.commands.items():
        assert re.search(rf"^\| .*`{name}[ `]", pages, re.MULTILINE), name
        parts = [command, *getattr(command, "commands", {}).values()]
        options = {option for part in parts for parameter in part.params for option in parameter.opts}
        for row in re.findall(rf"^\| `{name} ([^`]*)`", pages, re.MULTILINE):
            assert set(re.findall(r"--[\w-]+", row)) <= options
    named = set(re.findall(r"bento-rollout ([a-z]+)\b", pages))
    assert named <= set(cli.commands)


def test_every_environment_variable_is_explained() -> None:
    """Each variable that users may set stands in docs/operations.md, and no page names another."""
    code = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "bento_rollout").rglob("*.py"))
    internal = {
        "BENTO_ROLLOUT_BESIDE",
        "BENTO_ROLLOUT_PINS",
        "BENTO_ROLLOUT_BROKEN",
        "BENTO_ROLLOUT_CONTENTS",
    }
    known = set(re.findall(r"\bBENTO_ROLLOUT(?:_[A-Z]+)*\b", code)) - internal
    told = set(re.findall(r"^\| `(BENTO_ROLLOUT\w*)` \|", text_of("operations.md"), re.MULTILINE))
    assert told == known
    assert set(re.findall(r"\bBENTO_ROLLOUT(?:_[A-Z]+)*\b", everything())) <= known


def test_reasons_and_headers_are_explained() -> None:
    """Each reason and each response header stands in a table of docs/rollouts.md."""
    rows = set(re.findall(r"^\| `([\w-]+)` \|", text_of("rollouts.md"), re.MULTILINE))
    assert rows >= {reason.value for reason in Reason} | set(RESPONSE_HEADERS)


def test_exit_codes_are_explained() -> None:
    """The exit codes and statuses of all errors stand in docs/operations.md."""
    rows = set(re.findall(r"^\| (\d+) \| (\d+)? \|", text_of("operations.md"), re.MULTILINE))
    errors: set[type[RolloutError]] = {RolloutError}
    while more := {sub for error in errors for sub in error.__subclasses__()} - errors:
        errors |= more
    assert {(str(error.exit_code), str(error.http_status)) for error in errors} <= rows


EVENT = re.compile(
    r"(?:admin|automation|call|console|drift|flip|log|notice|prediction|reviews|rollout|routing|shadow|store|telemetry"
    r"|variant|worker)\.[a-z_]+"
)
NO_EVENTS = {
    "admin.lock",
    *("console.css", "console.js", "console.key"),
    *("drift.db", "drift.json", "drift.lock"),
    *("flip.instance", "flip.json", "flip.lock"),
    *("reviews.db", "reviews.key", "reviews.lock", "reviews.telling.lock"),
    *(
        "rollout.decision",
        "rollout.drift",
        "rollout.shadow",
        "rollout.verb",
        "rollout.degree",
        "rollout.yaml",
    ),
} | {f"{prefix}{name}" for prefix, model in MODELS.items() for name in model.model_fields} - {
    "drift.reference"  # a field, and an event
}
"""What looks like an event, and is a file, an attribute of a span or of a hook, a field of the spec, or the
type of a webhook's message.
"""


def events_in_code() -> set[str]:
    """What the code may write as an event's name: each text in it that looks like one."""
    trees = (ast.parse(file.read_text(encoding="utf-8")) for file in (ROOT / "bento_rollout").rglob("*.py"))
    texts = {n.value for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Constant)}
    return {text for text in texts if isinstance(text, str) and EVENT.fullmatch(text)} - NO_EVENTS


def test_every_event_is_explained() -> None:
    """Each event that the code logs stands in the table of docs/observability.md, and no other."""
    rows = re.findall(rf"^\| `({EVENT.pattern})` \|", text_of("observability.md"), re.MULTILINE)
    assert sorted(rows) == sorted(events_in_code())


def test_events_that_are_told_of_are_logged() -> None:
    """Each event that a page names is one that the code logs."""
    told = set(re.findall(rf"`({EVENT.pattern})`", everything()))
    assert told - NO_EVENTS <= events_in_code()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link leads to a file that is there."""
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target
