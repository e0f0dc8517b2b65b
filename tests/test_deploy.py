"""The manifests in `deploy/kubernetes` are valid, and as careful as the guide says."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from bento_rollout.specfile import parse_spec

WAYS = ("gitops", "postgresql")
FOLDER = Path(__file__).parent.parent / "deploy" / "kubernetes"
VERSION = "1.31"
"""Of Kubernetes: the oldest that still gets patches when this was written."""


@pytest.fixture(scope="module", params=WAYS)
def made(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """What one way comes to."""
    return _resources(FOLDER / request.param)


def _resources(folder: Path) -> list[dict[str, Any]]:
    """Return the resources that a kustomization names, with those of the folders that it names."""
    found: list[dict[str, Any]] = []
    for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        path = folder / name
        found += _resources(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    return found


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed; no registry has it")
@pytest.mark.parametrize("way", WAYS)
def test_kustomize_makes_the_same_of_it(way: str) -> None:
    """With the image of whoever deploys it."""
    command = ["kubectl", "kustomize", str(FOLDER / way)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "must be a file" in done.stderr:
        pytest.skip("this kubectl is older than 1.21, and its kustomize takes no folders as resources")
    made = [one for one in yaml.safe_load_all(done.stdout) if one]
    assert _names(made) == _names(_resources(FOLDER / way))
    assert "image: registry.example.com/screening:" in done.stdout


def test_every_resource_is_valid(made: list[dict[str, Any]]) -> None:
    """Against the schemas of Kubernetes, with no field that it does not know."""
    for resource in made:
        kubernetes_validate.validate(resource, VERSION, strict=True)
    kinds = {resource["kind"] for resource in made}
    assert {"Deployment", "Service", "Secret", "PodDisruptionBudget", "ServiceAccount"} <= kinds


def test_pods_may_do_little(made: list[dict[str, Any]]) -> None:
    """No root, no writable root file system, no token of the cluster, no capability."""
    pods = [one["spec"]["template"]["spec"] for one in made if one["kind"] in {"Deployment", "Job"}]
    assert pods
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            limits = container["securityContext"]
            assert limits["readOnlyRootFilesystem"] is True
            assert limits["allowPrivilegeEscalation"] is False
            assert limits["capabilities"] == {"drop": ["ALL"]}


def test_pods_are_asked_how_they_are_and_let_go_in_peace(made: list[dict[str, Any]]) -> None:
    """All three probes; the load balancer hears of an end first; a node is drained one pod at a time."""
    (container,) = _the(made, "Deployment")["spec"]["template"]["spec"]["containers"]
    paths = {name: container[name]["httpGet"]["path"] for name in _PROBES}
    assert paths == {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
    assert container["lifecycle"]["preStop"]
    assert _the(made, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_no_secret_is_in_a_variable_that_is_not_one(made: list[dict[str, Any]]) -> None:
    """What is secret comes from the Secret."""
    for one in made:
        if one["kind"] not in {"Deployment", "Job"}:
            continue
        for container in one["spec"]["template"]["spec"]["containers"]:
            for variable in container["env"]:
                secret = variable["name"] in {"BENTO_ROLLOUT_STORE", "BENTO_ROLLOUT_HASH_KEY"}
                assert ("valueFrom" in variable) is secret, variable["name"]


def test_the_governing_file_is_a_spec_that_follows_its_configmap() -> None:
    """It is valid, it governs, and it is mounted as a folder: a file by subPath is never updated."""
    data = yaml.safe_load((FOLDER / "gitops" / "configmap.yaml").read_text())["data"]
    spec = parse_spec(data["rollout.yaml"].encode(), "rollout.yaml")
    assert spec.authority == "spec"
    deployment = yaml.safe_load((FOLDER / "gitops" / "deployment.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (mount,) = (one for one in container["volumeMounts"] if one["name"] == "rollout")
    assert "subPath" not in mount
    (variable,) = (one for one in container["env"] if one["name"] == "BENTO_ROLLOUT_SPEC")
    assert variable["value"] == f"{mount['mountPath']}/rollout.yaml"


def _names(made: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(one["kind"], one["metadata"]["name"]) for one in made}


def _the(made: list[dict[str, Any]], kind: str) -> Mapping[str, Any]:
    (one,) = (one for one in made if one["kind"] == kind)
    return one


_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
