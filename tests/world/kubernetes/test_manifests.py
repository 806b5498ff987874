"""deploy/kubernetes, built as `kubectl apply -k` builds it, decoded strictly by Kubernetes' own types, held to the code."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.config import Config, unknown_variables
from headrace.receiver.serving import GRACE_SECONDS

ROOT = Path(__file__).parents[3]
MANIFESTS = ROOT / "deploy" / "kubernetes"

pytestmark = [
    pytest.mark.slow("deploy/kubernetes deploy/kubernetes-kafka Dockerfile config/listen"),
    pytest.mark.skipif(shutil.which("go") is None, reason="needs Go"),
]


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of `check/`, built."""
    program = tmp_path_factory.mktemp("kubernetes") / "check"
    command = ["go", "build", "-o", str(program), "."]
    subprocess.run(command, cwd=Path(__file__).with_name("check"), check=True, timeout=900)
    return program


def built(checker: Path, folder: Path) -> list[dict[str, Any]]:
    """The objects of a folder.

    Raises:
        CalledProcessError: kustomize or Kubernetes' types refuse it.
    """
    done = subprocess.run([checker, folder], check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def objects(checker: Path) -> dict[str, Any]:
    """Kind and name → object."""
    return {f"{each['kind']} {each['metadata']['name']}": each for each in built(checker, MANIFESTS)}


@pytest.mark.timeout(900)
def test_kubernetes_knows_every_field(checker: Path, objects: dict[str, Any], tmp_path: Path) -> None:
    assert len(objects) == 6
    assert {each["metadata"]["namespace"] for each in objects.values()} == {"headrace"}
    wrong = shutil.copytree(MANIFESTS, tmp_path / "wrong")
    (wrong / "statefulset.yaml").write_text((MANIFESTS / "statefulset.yaml").read_text().replace("periodSeconds", "period"))
    with pytest.raises(subprocess.CalledProcessError) as refused:
        built(checker, wrong)
    assert 'unknown field "spec.template.spec.containers[0].livenessProbe.period"' in refused.value.stderr


@pytest.mark.timeout(900)
def test_kubernetes_knows_every_field_of_the_fleet_with_kafka(checker: Path) -> None:
    found = sorted(each["kind"] for each in built(checker, ROOT / "deploy" / "kubernetes-kafka"))
    kinds = ["ConfigMap", "Deployment", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget"]
    assert found == [*kinds, "PodDisruptionBudget", "Service"]


def test_the_pods_are_what_the_image_and_the_settings_are(objects: dict[str, Any]) -> None:
    pod = objects["StatefulSet headrace"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" in dockerfile
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {f"otlp-{name}": Config.model_fields[f"{name}_port"].default for name in ("http", "grpc")}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {
            "path": "/readyz" if probe == "readinessProbe" else "/healthz",
            "port": "otlp-http",
        }
    given = dict(objects["ConfigMap headrace"]["data"]) | {each["name"]: "" for each in container["env"]}
    assert unknown_variables(given) == []
    mounted = {each["mountPath"] for each in container["volumeMounts"]}
    assert "ENV HEADRACE_HOST=0.0.0.0 \\\n    HEADRACE_DATA_DIR=/var/lib/headrace" in dockerfile
    assert mounted == {"/var/lib/headrace", "/tmp"}


def test_a_stop_has_the_time_that_it_may_take(objects: dict[str, Any]) -> None:
    pod = objects["StatefulSet headrace"]["spec"]["template"]["spec"]
    before = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    needed = before + Config.model_fields["shutdown_seconds"].default + 2 * GRACE_SECONDS
    assert pod["terminationGracePeriodSeconds"] >= needed + 10


def test_the_services_and_the_policies_mean_the_pods(objects: dict[str, Any]) -> None:
    labels = objects["StatefulSet headrace"]["spec"]["template"]["metadata"]["labels"]
    selectors = [objects[name]["spec"]["selector"] for name in ("Service headrace", "Service headrace-pods")]
    selectors += [
        objects["PodDisruptionBudget headrace"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy headrace"]["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
    assert objects["StatefulSet headrace"]["spec"]["serviceName"] == "headrace-pods"
    monitor = yaml.safe_load((MANIFESTS / "servicemonitor.yaml").read_text())["spec"]["selector"]["matchLabels"]
    watched = [name for name, each in objects.items() if monitor.items() <= each["metadata"]["labels"].items()]
    assert watched == ["Service headrace-pods"]


def test_the_disk_holds_a_full_queue(objects: dict[str, Any]) -> None:
    (claim,) = objects["StatefulSet headrace"]["spec"]["volumeClaimTemplates"]
    size = claim["spec"]["resources"]["requests"]["storage"]
    assert int(size.removesuffix("Gi")) * 2**30 >= 1.5 * Config.model_fields["queue_max_bytes"].default
