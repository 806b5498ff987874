"""docker-compose.yaml, run for real: both images are built, the stack is started, used, hurt and stopped, as a user would.

The tests share one stack and run in this order. Where no registry is reached, the images of Python and Postgres are stand-ins
made of this machine's parts (`engine.py`); Dockerfile and docker-compose.yaml are used unchanged.
"""

import json
import os
import re
import signal
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml
from authority import Authority
from conftest import free_port, report, wait_until
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from playwright.sync_api import expect

import otlp
from world.browser.test_ui import page
from world.containers.engine import ROOT, Engine, NoEngine, engine, have_nginx

__all__ = ["page"]
pytestmark = [
    pytest.mark.timeout(1_200),
    pytest.mark.slow(
        "Dockerfile .dockerignore docker-compose.yaml deploy/image deploy/secure",
        "requirements-kafka.lock requirements-auth.lock migrations cli config host errors",
    ),
]
WRITING = ("postgres", "mlflow", "headrace")
SERVICES = (*WRITING, "console")
SECURE = ("secure-mlflow", "secure-headrace", "secure-console", "secure-ui")


def _cgroups_of_2(container: str) -> Iterator[Path]:
    return Path("/sys/fs/cgroup").glob(f"**/*{container}*/cpu.stat")


@dataclass
class Stack:
    """A started stack of docker-compose.yaml, under a project name and on ports of its own."""

    engine: Engine
    project: str
    http_port: int
    grpc_port: int
    ui_port: int
    console_port: int
    sent: list[str] = field(default_factory=list)
    """The ids of traces that were answered 200, in MLflow's form."""
    python_image: str = ""
    first_start: tuple[float, float] = (0, 0)
    """The seconds of the build, and of the first `up`."""

    def compose(self, *arguments: str, check: bool = True, seconds: float = 900) -> str:
        """`docker compose` with the arguments."""
        return self.engine("compose", "-p", self.project, *arguments, check=check, seconds=seconds)

    def up(self, *arguments: str, profile: str = "") -> float:
        """`docker compose up --wait`; returns the seconds that it took."""
        started = time.monotonic()
        try:
            self.compose(
                *(("--profile", profile) if profile else ()), "up", "-d", "--wait", "--wait-timeout", "600", *arguments
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.compose('ps', '-a')}\n{self.compose('logs', '--tail', '60')}") from None
        return time.monotonic() - started

    def container(self, service: str) -> str:
        """The id of a service's container, which may have ended."""
        return self.compose("ps", "-a", "-q", service)

    def inspect(self, service: str) -> dict[str, Any]:
        """What Docker knows of a service's container."""
        return dict(json.loads(self.engine("inspect", self.container(service)))[0])

    def up_with(self, *services: str, files: Sequence[Path] = (), **variables: str) -> None:
        """`up` with other files or variables; what has changed is made anew."""
        named = [word for file in files for word in ("-f", str(file))]
        engine = replace(self.engine, environment=self.engine.environment | variables)
        engine("compose", *named, "-p", self.project, "up", "-d", "--wait", "--wait-timeout", "600", *services, seconds=700)

    def events(self) -> list[dict[str, Any]]:
        """What Headrace's container has logged."""
        return [json.loads(line) for line in self.engine("logs", self.container("headrace"), both=True).splitlines()]

    def processor_seconds(self, service: str) -> float:
        """What all processes of a container, ended ones too, have taken of the processor."""
        id_ = self.inspect(service)["Id"]
        (accounted,) = [*Path("/sys/fs/cgroup").glob(f"cpuacct/docker/{id_}/cpuacct.usage"), *_cgroups_of_2(id_)][:1]
        text = accounted.read_text()
        return int(text) / 1e9 if text.strip().isdigit() else int(text.split()[1]) / 1e6

    def processes(self, service: str) -> list[str]:
        """The user ids of a container's processes, as this machine sees them."""
        return self.engine("top", self.container(service), "-eo", "pid,uid").split()[2:][1::2]

    def send(self, service: str = "checkout") -> str:
        """One trace over HTTP, sent again while it is not answered 200, as SDKs do. Returns its id in MLflow."""
        request = otlp.request(otlp.span("GET /"), service=service)
        wait_until(lambda: self.post(request) == 200, 120, "an answer of 200")
        return self._note(request)

    def send_grpc(self) -> str:
        """One trace over gRPC."""
        request = otlp.request(otlp.span("GET /grpc"))
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            TraceServiceStub(channel).Export(request, timeout=30, wait_for_ready=True)  # type: ignore[no-untyped-call]
        return self._note(request)

    def post(self, request: ExportTraceServiceRequest) -> int:
        """The status of the answer; 0 if there is none."""
        url = f"http://localhost:{self.http_port}/v1/traces"
        body, headers = request.SerializeToString(), {"content-type": "application/x-protobuf"}
        try:
            return httpx.post(url, content=body, headers=headers, timeout=20).status_code
        except httpx.TransportError:
            return 0

    def _note(self, request: ExportTraceServiceRequest) -> str:
        trace_id = f"tr-{request.resource_spans[0].scope_spans[0].spans[0].trace_id.hex()}"
        self.sent.append(trace_id)
        return trace_id

    def shows(self, trace_id: str) -> bool:
        """Whether MLflow's API has the trace, whole."""
        try:
            url = f"http://localhost:{self.ui_port}/api/3.0/mlflow/traces/get"
            answer = httpx.get(url, params={"trace_id": trace_id}, timeout=20)
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and answer.json()["trace"]["trace_info"]["state"] == "OK"

    def stored(self, trace_ids: Sequence[str]) -> None:
        """Waits until all these traces are in MLflow's table, as finished ones."""
        query = ("psql", "-h", "127.0.0.1", "-U", "mlflow", "-Atc", "SELECT request_id FROM trace_info WHERE status = 'OK'")
        password = 'PGPASSWORD=$(cat /run/headrace/password) exec "$@"'

        def missing() -> set[str]:
            listed = self.compose("exec", "-T", "postgres", "sh", "-c", password, "sh", *query, check=False)
            return set(trace_ids) - set(listed.split())

        wait_until(lambda: not missing(), 180, f"traces that were acknowledged, of {len(trace_ids)}")

    def seen(self, *trace_ids: str) -> None:
        """Waits until MLflow shows all these traces."""
        for trace_id in trace_ids:
            wait_until(partial(self.shows, trace_id), 120, f"{trace_id} in MLflow's API")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack, built and started. It is removed at the end, with its volumes."""
    base = re.findall(r"^FROM (python:\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0]
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]
    with ExitStack() as opened:
        try:
            docker = opened.enter_context(engine((base, services["postgres"]["image"])))
        except NoEngine as error:
            pytest.skip(str(error))
        http_port, grpc_port, ui_port, console_port, _ = ports = [free_port() for _ in range(5)]
        names = [f"HEADRACE_{name}_PORT" for name in ("HTTP", "GRPC", "UI", "CONSOLE", "JAEGER")]
        kept = {name: value for name, value in docker.environment.items() if not name.startswith(("HEADRACE_", "POSTGRES_"))}
        ours = Engine(docker.program, kept | dict(zip(names, map(str, ports), strict=True)))
        stack = Stack(ours, f"headrace-test-{os.getpid()}", http_port, grpc_port, ui_port, console_port)
        opened.callback(stack.compose, "down", "--volumes", "--rmi", "local", "--timeout", "20", check=False)
        started = time.monotonic()
        stack.compose("--progress", "plain", "build")
        stack.python_image = base
        stack.first_start = (time.monotonic() - started, stack.up())
        yield stack


def test_a_trace_is_seen_over_http_and_grpc(stack: Stack) -> None:
    stack.seen(stack.send(), stack.send_grpc())


def test_the_ui_shows_what_the_demo_sent(stack: Stack, request: pytest.FixtureRequest) -> None:
    link = stack.compose("exec", "-T", "headrace", "headrace", "demo", "--scenario", "services")
    assert link.startswith(f"http://localhost:{stack.ui_port}/#/experiments/0/traces")
    page = request.getfixturevalue("page")
    page.goto(link)
    expect(page.get_by_text("score payment").first).to_be_visible()


def test_the_console_shows_what_was_sent(stack: Stack) -> None:
    trace_id = stack.send()
    stack.seen(trace_id)
    base = f"http://localhost:{stack.console_port}"
    assert httpx.get(f"{base}/traces/{trace_id}", timeout=30).status_code == 200
    wait_until(lambda: "The road of a span" in httpx.get(base, timeout=30).text)
    assert httpx.get(base, headers={"host": "evil.example"}, timeout=30).status_code == 403


def test_nothing_runs_as_root_or_may_write_where_it_need_not(stack: Stack) -> None:
    for service in SERVICES:
        assert "0" not in stack.processes(service), service
        host = stack.inspect(service)["HostConfig"]
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
        if service != "postgres":
            assert not host["CapAdd"]
            assert host["ReadonlyRootfs"]


def test_no_password_is_in_an_environment(stack: Stack) -> None:
    password = stack.compose("exec", "-T", "postgres", "cat", "/run/headrace/password")
    assert re.fullmatch(r"[0-9a-f]{48}", password)
    for service in SERVICES:
        assert password not in json.dumps(stack.inspect(service))
    assert password not in stack.compose("logs")


def test_headrace_logs_json_and_nothing_alarming(stack: Stack) -> None:
    for event in stack.events():
        assert event["level"] == "info", event


def test_health_checks_cost_little(stack: Stack, request: pytest.FixtureRequest) -> None:
    """They run every ten seconds, for ever."""
    for service in ("mlflow", "headrace"):
        health = stack.inspect(service)["Config"]["Healthcheck"]
        assert health["Interval"] == 10 * 10**9
        before = stack.processor_seconds(service)
        for _ in range(10):
            stack.compose("exec", "-T", service, *health["Test"][1:])
        spent = (stack.processor_seconds(service) - before) / 10
        report(request.config, "containers").append(f"health check of {service}: {spent:.2f} s of the processor")
        assert spent < 1  # a check that starts our whole command line takes more on such a machine


def test_an_experiment_for_each_service(stack: Stack) -> None:
    stack.up_with(HEADRACE_DEFAULT_EXPERIMENT="team-{service.name}")
    stack.seen(stack.send(service="billing"))
    found = httpx.get(
        f"http://localhost:{stack.ui_port}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": "team-billing"}
    )
    assert found.status_code == 200
    stack.up_with()


@pytest.mark.parametrize("how", ["restart", "kill"])
@pytest.mark.parametrize("service", WRITING)
def test_nothing_is_lost_when_a_service_goes_under_load(stack: Stack, service: str, how: str) -> None:
    with under_load(stack) as sent:
        wait_until(lambda: len(sent) > 5, 60, "the first answers")
        if how == "restart":
            stack.compose("restart", service)
        else:
            # As the kernel does it, and not as `docker kill`: after that Docker does not restart a container.
            os.kill(stack.inspect(service)["State"]["Pid"], signal.SIGKILL)
        before = len(sent)
        stack.up("--no-recreate")
        wait_until(lambda: len(sent) > before + 5, 120, "answers after it")
    stack.stored(sent)


def test_an_update_of_the_images_keeps_the_data(stack: Stack, request: pytest.FixtureRequest) -> None:
    """One service after the other, as docs/deployment.md says: OpenTelemetry's own exporters, which try again by themselves,
    do not notice. All at once, Compose would stop Headrace until MLflow has started."""
    before = {service: stack.container(service) for service in ("mlflow", "headrace")}
    with under_load(stack) as sent, exporting(stack, "http") as over_http, exporting(stack, "grpc") as over_grpc:
        wait_until(lambda: min(map(len, (sent, over_http, over_grpc))) > 5, 60, "the first answers")
        for service in before:
            stack.up("--force-recreate", "--no-deps", service)
        after = list(map(len, (sent, over_http, over_grpc)))
        wait_until(lambda: all(len(x) > n + 5 for x, n in zip((sent, over_http, over_grpc), after, strict=True)), 120, "more")
    assert not set(before.values()) & {stack.container(service) for service in before}
    exported = over_http | over_grpc
    refused = [trace_id for trace_id, result in exported.items() if result is not SpanExportResult.SUCCESS]
    report(request.config, "containers").append(
        f"new containers under load: {len(exported)} exports of SDKs, {len(refused)} of them refused"
    )
    assert not refused
    stack.stored([*sent, *exported])


def test_a_stop_ends_each_service_in_order_and_in_time(stack: Stack, request: pytest.FixtureRequest) -> None:
    started = time.monotonic()
    stack.compose("stop")
    report(request.config, "containers").append(f"stop: {time.monotonic() - started:.1f} s")
    for service in SERVICES:
        assert stack.inspect(service)["State"]["ExitCode"] == 0, service
    events = [event["event"] for event in stack.events()]
    assert events[-1] == "stopped"
    assert "stopping" in events


def test_down_and_up_keep_the_data(stack: Stack, request: pytest.FixtureRequest) -> None:
    stack.compose("down")
    report(request.config, "containers").append(f"start: {stack.up():.0f} s, on what was there")
    stack.stored(stack.sent)
    stack.seen(stack.sent[0])


def test_a_full_volume_of_the_queue_refuses_and_passes(stack: Stack, tmp_path: Path) -> None:
    override = {
        "services": {
            "headrace": {
                "volumes": ["small:/var/lib/headrace"],
                "environment": {"HEADRACE_MIN_FREE_BYTES": str(8 * 2**20)},
            }
        },
        "volumes": {"small": {"driver_opts": {"type": "tmpfs", "device": "tmpfs", "o": "size=96m,uid=10001,gid=10001"}}},
    }
    (tmp_path / "override.yaml").write_text(yaml.safe_dump(override))
    stack.up_with("headrace", files=[ROOT / "docker-compose.yaml", tmp_path / "override.yaml"])
    stack.compose("stop", "postgres")
    codes = {stack.post(otlp.request(otlp.span("big", attrs={"text": os.urandom(200_000).hex()}))) for _ in range(300)}
    assert codes == {200, 503}  # 200 while there was room
    assert stack.inspect("headrace")["State"]["Health"]["Status"] == "healthy"
    stack.up("--no-recreate")
    stack.seen(stack.send())
    stack.up_with()


def test_with_tls_the_container_is_healthy(stack: Stack, tmp_path: Path) -> None:
    pair = Authority(tmp_path, "authority").issue("server")
    for path in (pair.cert, pair.key):
        path.chmod(0o644)
    tmp_path.chmod(0o755)
    service = {
        "environment": {"HEADRACE_TLS_CERT": f"/tls/{pair.cert.name}", "HEADRACE_TLS_KEY": f"/tls/{pair.key.name}"},
        "volumes": [f"{tmp_path}:/tls:ro"],
    }
    (tmp_path / "override.yaml").write_text(yaml.safe_dump({"services": {"headrace": service}}))
    stack.up_with("headrace", files=[ROOT / "docker-compose.yaml", tmp_path / "override.yaml"])
    assert stack.inspect("headrace")["State"]["Health"]["Status"] == "healthy"
    stack.up_with()


def test_a_wrong_password_is_named(stack: Stack) -> None:
    wrong = ("-e", "PGPASSFILE=", "-e", "PGPASSWORD=wrong", "-e", "HEADRACE_DATA_DIR=/tmp/data")
    said = stack.compose("run", "--rm", "-T", "--no-deps", *wrong, "headrace", "sh", "-c", "headrace serve 2>&1 || true")
    assert "Postgres does not accept the password" in said


def test_sizes(stack: Stack, request: pytest.FixtureRequest) -> None:
    build, start = stack.first_start
    report(request.config, "containers").append(
        f"first start: {build:.0f} s to build both images, {start:.0f} s until all is healthy"
    )
    for service, most in (("mlflow", 1_200), ("headrace", 300)):
        size = json.loads(stack.engine("image", "inspect", stack.inspect(service)["Image"]))[0]["Size"]
        assert size <= most * 1e6, service
        used = stack.engine("stats", "--no-stream", "--format", "{{.MemUsage}}", stack.container(service)).split(" / ")[0]
        report(request.config, "containers").append(f"{service}: image {size / 1e6:.0f} MB, memory {used}")


def test_the_image_is_made_of_what_can_be_made_again(stack: Stack) -> None:
    """Nothing in it tells when it was built; and it lists what is in it."""
    program = """if True:
        import importlib.metadata, json, pathlib
        venv = pathlib.Path("/opt/venv")
        compiled = [path for path in venv.rglob("*.pyc")]
        assert len(compiled) > 1000
        assert {path.read_bytes()[4:8] for path in compiled} == {bytes([1, 0, 0, 0])}, "compiled for a time"
        assert {path.lstat().st_mtime for path in venv.rglob("*")} == {0}
        assert not [path for path in venv.rglob("*") if path.suffix in (".pyi", ".pyx")]
        bill = json.loads(pathlib.Path("/usr/share/headrace/sbom.cdx.json").read_text())
        listed = {(each["name"].lower().replace("_", "-"), each["version"]) for each in bill["components"]}
        there = {(each.metadata["Name"].lower().replace("_", "-"), each.version) for each in importlib.metadata.distributions()}
        assert there - listed <= {name for name in there if name[0] == "headrace"}, there - listed
        assert "pip" not in {name for name, _ in there}
        print(len(there))"""
    found = stack.compose("exec", "-T", "headrace", "python", "-c", program)
    assert int(found) > 50
    labels = stack.inspect("headrace")["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "headrace"


def test_the_secure_profile_has_tls_at_all_doors_and_asks_who_one_is(stack: Stack, tmp_path: Path) -> None:
    service = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]["secure-ui"]
    try:
        have_nginx(stack.engine, service["image"], stack.python_image)
    except NoEngine as error:
        pytest.skip(str(error))
    ports = {name: free_port() for name in ("HTTP", "GRPC", "UI", "CONSOLE")}
    variables = {f"SECURE_{name}_PORT": str(port) for name, port in ports.items()}
    secure = replace(stack, engine=replace(stack.engine, environment=stack.engine.environment | variables))
    secure.up("secure-ui", profile="secure")
    shown = secure.compose("--profile", "secure", "run", "--rm", "-T", "secure-setup", "show")
    key, password = re.findall(r"^(?:key|admin): (\S+)$", shown, re.MULTILINE)
    (tmp_path / "ca.crt").write_text(shown[shown.index("-----BEGIN") :])
    urls = {name: f"https://localhost:{port}" for name, port in ports.items()}
    request = otlp.request(otlp.span("GET /secure"))
    body, kind = request.SerializeToString(), {"content-type": "application/x-protobuf"}
    context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    with httpx.Client(verify=context, timeout=60) as client:
        assert client.post(f"{urls['HTTP']}/v1/traces", content=body, headers=kind).status_code == 401
        bearer = {"authorization": f"Bearer {key}"}
        assert client.post(f"{urls['HTTP']}/v1/traces", content=body, headers=kind | bearer).status_code == 200
        over_grpc = otlp.request(otlp.span("GET /secure-grpc"))
        credentials = grpc.ssl_channel_credentials((tmp_path / "ca.crt").read_bytes())
        with grpc.secure_channel(f"localhost:{ports['GRPC']}", credentials) as channel:
            export = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
            export(over_grpc, timeout=60, metadata=list(bearer.items()))
        wanted = [stack._note(each) for each in (request, over_grpc)]
        stack.stored(wanted)
        trace = f"{urls['UI']}/api/3.0/mlflow/traces/get?trace_id={wanted[0]}"
        assert client.get(trace).status_code == 401
        assert client.get(trace, auth=("admin", password)).status_code == 200
        assert client.get(urls["UI"], auth=("admin", password)).status_code == 200
        assert client.get(f"{urls['CONSOLE']}/traces/{wanted[0]}", headers=bearer).status_code == 200
        assert "GET /secure" not in client.get(f"{urls['CONSOLE']}/traces/{wanted[0]}").text
    for url in urls.values():
        with pytest.raises(httpx.HTTPError):
            httpx.get(url.replace("https:", "http:"), timeout=10).raise_for_status()
    for name in SECURE:
        assert not {key, password} & set(re.findall(r"[\w-]+", json.dumps(secure.inspect(name)))), name
        assert "0" not in secure.processes(name), name
    secure.compose("--profile", "secure", "rm", "--stop", "--force", *SECURE)


@contextmanager
def exporting(stack: Stack, protocol: str) -> Iterator[dict[str, SpanExportResult]]:
    """One of OpenTelemetry's exporters sends ten spans a second. Gives its answers: trace id in MLflow's form → result."""
    stop, results = threading.Event(), dict[str, SpanExportResult]()
    exporter = (
        HttpExporter(f"http://localhost:{stack.http_port}/v1/traces", timeout=60)
        if protocol == "http"
        else GrpcExporter(f"localhost:{stack.grpc_port}", insecure=True, timeout=60)
    )

    def send() -> None:
        tracer = TracerProvider().get_tracer("stack")
        while not stop.wait(0.1):
            span = tracer.start_span("GET /sdk")
            span.end()
            assert isinstance(span, ReadableSpan)
            results[f"tr-{span.get_span_context().trace_id:032x}"] = exporter.export([span])

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield results
    finally:
        stop.set()
        sender.join()
        exporter.shutdown()


@contextmanager
def under_load(stack: Stack) -> Iterator[list[str]]:
    """Sends a trace ten times a second, and again until it is answered. Gives the ids of those that were answered."""
    stop, sent = threading.Event(), list[str]()

    def send() -> None:
        while not stop.wait(0.1):
            sent.append(stack.send())

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield sent
    finally:
        stop.set()
        sender.join()
