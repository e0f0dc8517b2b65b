"""A file that governs six replicas, changed as the kubelet changes a ConfigMap."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from .findings import Finding, Outcome
from .load import Load, loaded
from .topology import Replica, balanced, replicas

__all__ = ["ConfigMap", "configmap"]

BAR = 3.0
SERVICE = "benchmarks.replicas.service:Replicated"


class ConfigMap:
    """A folder as the kubelet mounts it: the file is a link into ``..data``, which is swapped in one step."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder, self._number = folder, 0
        folder.mkdir(parents=True)
        self.put(text)
        (folder / "rollout.yaml").symlink_to("..data/rollout.yaml")

    @property
    def file(self) -> Path:
        """What the service is told to read."""
        return self.folder / "rollout.yaml"

    def put(self, text: str) -> float:
        """Replace the file; return when, by the monotonic clock."""
        self._number += 1
        old, new = self.folder / f"..{self._number - 1}", self.folder / f"..{self._number}"
        new.mkdir()
        (new / "rollout.yaml").write_text(text)
        draft = self.folder / "..data_tmp"
        draft.symlink_to(new.name)
        draft.replace(self.folder / "..data")
        moment = time.monotonic()
        if old.is_dir():
            (old / "rollout.yaml").unlink()
            old.rmdir()
        return moment


def configmap(folder: Path, changes: int, *, count: int = 6) -> Outcome:
    """Change the file again and again under load; then put an invalid one there."""
    text = Path(__file__).with_name("governed.yaml").read_text()
    file = ConfigMap(folder / "config", text)
    environ = {"BENTO_ROLLOUT_SPEC": str(file.file)}
    with (
        replicas(folder, SERVICE, environ, count) as members,
        balanced(folder / "balancer", members) as balancer,
        loaded(balancer.port) as load,
    ):
        times = []
        for number in range(changes):
            weight = 100 if number % 2 == 0 else 0
            moment = file.put(text.replace("green: 5", f"green: {weight}"))
            times.append(_followed(members, load, "green" if weight else "blue", moment))
        before = load.answers[-1].revision
        moment = file.put("weights: [this is no weight")
        time.sleep(BAR)
        after = {one.revision for one in load.since(moment + 0.1)}
        written = [one.home for one in members if (one.home / "rollouts.db").exists()]
    worst, lost = max(times), len(load.failed)
    return [
        Finding(
            f"a change of the file to all replicas serving it ({changes} changes)",
            f"median {statistics.median(times):.2f} s, most {worst:.2f} s",
            f"under {BAR:g} s",
            worst < BAR,
        ),
        Finding("requests that failed meanwhile", f"{lost} of {len(load.answers)}", "none", not lost),
        Finding(
            "an invalid file changes nothing", ", ".join(sorted(after)), f"still {before}", after == {before}
        ),
        Finding("replicas that wrote a store", str(len(written)), "none", not written),
    ]


def _followed(members: list[Replica], load: Load, colour: str, moment: float) -> float:
    """Wait until every replica's answers are of a colour for good; return the seconds since a moment."""
    deadline = moment + 30
    while time.monotonic() < deadline:
        time.sleep(0.25)
        # In a quarter of a second each replica behind the balancer answers often: all of them in this colour.
        recent = load.since(time.monotonic() - 0.25)
        if len(recent) >= 4 * len(members) and all(one.variant == colour for one in recent):
            last = [one for one in load.since(moment) if one.variant != colour]
            return (last[-1].began if last else moment) - moment
    raise RuntimeError(f"after 30 s not all replicas answer {colour}; see {os.fspath(members[0].home)}")
