"""API keys as their users meet them: `headrace keys` on a shell, real exporters that send them, a Headrace that asks."""

import base64
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote

import grpc
import httpx
import pytest
from conftest import CloneDatabase, Launcher, Running, launcher, rows, wait_until
from fraud_scorer import PROTOCOLS, SPANS, answers, run
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

import otlp
from headrace.errors import RateLimited, Unauthenticated
from headrace.receiver.auth import Keys, new_key

PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
UNAUTHENTICATED = {"http/protobuf": "401", "grpc": "UNAUTHENTICATED"}
FORBIDDEN = {"http/protobuf": "403", "grpc": "PERMISSION_DENIED"}

Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the keys are; not there yet."""
    return tmp_path / "keys" / "keys.json"


@pytest.fixture
def keys(file: Path) -> Shell:
    """`keys("add", "shop")` → what `headrace keys add shop` said."""
    return shell(file)


def shell(file: Path) -> Shell:
    """Runs `headrace keys` on this file."""

    def keys(*arguments: str, status: int = 0, **settings: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "headrace", "keys", *arguments]
        environment = {**os.environ, "HEADRACE_API_KEYS": str(file), **settings}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return keys


def added(keys: Shell, *arguments: str) -> str:
    """Makes a key, and returns it."""
    secret: str = keys("add", *arguments).stdout.strip()
    return secret


def bearer(secret: str, more: str = "x-mlflow-experiment-id=0") -> str:
    """As a person puts it into OTEL_EXPORTER_OTLP_TRACES_HEADERS."""
    return ",".join(filter(None, [f"authorization=Bearer%20{secret}", more]))


@dataclass
class Guarded:
    """A Headrace that asks for keys, and what belongs to it."""

    running: Running
    database_url: str
    keys: Shell

    def stored(self, done: "subprocess.CompletedProcess[str]") -> list[str]:
        """The names of the spans of the trace whose id the program printed, sorted."""
        wait_until(self.running.drained)
        found = rows(self.database_url, "SELECT name FROM spans WHERE trace_id = %s", done.stdout.strip())
        return sorted(row["name"] for row in found)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, clone_database: CloneDatabase) -> Iterator[Guarded]:
    """One for the module: an address may send a wrong key each second, and twenty at once, which all tests of it share."""
    file = tmp_path_factory.mktemp("auth") / "keys.json"
    keys = shell(file)
    keys("add", "nobody's")
    with clone_database() as url, launcher() as launch:
        yield Guarded(launch(database_url=url, api_keys=file), url, keys)


# The commands


def test_add_prints_the_key_alone_and_keeps_only_its_hash(keys: Shell, file: Path) -> None:
    done = keys("add", "shop")
    secret = done.stdout.strip()
    assert len(secret.split("_", 2)[2]) == 43  # 256 bits
    assert f"export OTEL_EXPORTER_OTLP_TRACES_HEADERS=authorization=Bearer%20{secret}\n" in done.stderr
    assert secret.split("_", 2)[2] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(("experiment", "header"), [("3", "experiment-id=3"), ("shop / eu", "experiment-name=shop%20%2F%20eu")])
def test_add_says_the_experiment_s_header_too(keys: Shell, experiment: str, header: str) -> None:
    done = keys("add", "shop", "--experiment", experiment)
    assert f"Bearer%20{done.stdout.strip()},x-mlflow-{header}\n" in done.stderr


def test_list_shows_each_key_in_a_line_without_its_secret(keys: Shell) -> None:
    assert len(keys("list").stdout.splitlines()) == 1  # the heading; there is no file yet
    secret = added(keys, "shop [/eu] :key:", "--experiment", "3", "--experiment", "shop", "--expires", "90d")
    limited = added(keys, "other", "--spans-per-second", "2000", "--bytes-per-second", "1e6")
    first, second = keys("list").stdout.splitlines()[1:]
    assert re.match(rf"{secret.split('_')[1]}  shop \[/eu\] :key:  3, shop +20\d\d-\d\d-\d\d \d\d:\d\d  –", first)
    assert second.split()[:6] == [limited.split("_")[1], "other", "all", "never", "2000", "1e+06"]
    assert secret not in first


def test_revoke_takes_a_key_by_its_id_and_all_of_a_name(keys: Shell) -> None:
    kept, by_id, *_ = (added(keys, name).split("_")[1] for name in ("shop", "shop", "eu", "eu"))
    assert keys("revoke", by_id).stdout == f"Revoked shop ({by_id}).\n"
    assert len(keys("revoke", "eu").stdout.splitlines()) == 2
    assert [line.split()[0] for line in keys("list").stdout.splitlines()[1:]] == [kept]
    assert "headrace keys list" in keys("revoke", "eu", status=1).stderr


def test_keys_that_are_added_at_once_are_all_kept(keys: Shell) -> None:
    with ThreadPoolExecutor(4) as shells:
        secrets = list(shells.map(lambda n: added(keys, f"shop {n}"), range(8)))
    listed = {line.split()[0] for line in keys("list").stdout.splitlines()[1:]}
    assert listed == {secret.split("_")[1] for secret in secrets}


def test_the_file_stays_whose_it_was_and_a_link_stays_a_link(keys: Shell, file: Path, tmp_path: Path) -> None:
    kept = tmp_path / "elsewhere.json"
    kept.write_text('{"keys": []}')
    kept.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(kept, 1234, 2345)
    before = kept.stat()
    file.parent.mkdir()
    file.symlink_to(kept)
    keys("add", "shop")
    after = kept.stat()
    assert len(json.loads(kept.read_text())["keys"]) == 1
    assert file.is_symlink()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert set(tmp_path.iterdir()) == {kept, file.parent}  # and nothing half written


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "x", "--expires", "soon"], "90d"),
        (["add", "x", "--expires", "[/]"], "90d"),
        (["add", "x", "--expires", "99999999999w"], "90d"),
        (["add", "x", "--expires", "2020-01-31"], "in the past"),
    ],
)
def test_what_cannot_be_meant_is_said(keys: Shell, file: Path, arguments: list[str], said: str) -> None:
    assert said in keys(*arguments, status=1).stderr
    assert not file.exists()


def test_a_file_that_cannot_be_used_is_named(keys: Shell, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    for path in (broken, tmp_path / "broken.json" / "keys.json"):
        for command in (["add", "x"], ["list"], ["revoke", "x"]):
            assert str(path) in keys(*command, status=1, HEADRACE_API_KEYS=str(path)).stderr


def test_headrace_does_not_start_without_its_file_of_keys(headrace: Launcher, database_url: str, file: Path) -> None:
    running = headrace("serve", wait=False, database_url=database_url, api_keys=file)
    assert running.process.wait(30) == 1
    assert "headrace keys add" in running.log.read_text()


# With exporters


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_exporter_with_a_key_is_let_in_and_one_without_is_not(guarded: Guarded, protocol: str) -> None:
    """A refusal is final: no exporter sends the batch again."""
    done = run(guarded.running, protocol, bearer(added(guarded.keys, "shop")))
    assert done.stderr == ""
    assert guarded.stored(done) == sorted(SPANS)
    refused = UNAUTHENTICATED[protocol]
    before = answers(guarded.running, protocol)
    for headers in (bearer("headrace_0_0"), "x-mlflow-experiment-id=0"):
        done = run(guarded.running, protocol, headers)
        assert refused in done.stderr
        assert guarded.stored(done) == []
    assert answers(guarded.running, protocol) == before | {refused: before.get(refused, 0) + 2}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_add_prints_is_what_an_exporter_needs(guarded: Guarded, protocol: str) -> None:
    name = f"by its name / {protocol}"
    said = guarded.keys("add", "shop", "--experiment", name).stderr
    (headers,) = (line.partition("TRACES_HEADERS=")[2] for line in said.splitlines() if "export " in line)
    done = run(guarded.running, protocol, headers)
    assert done.stderr == ""
    assert guarded.stored(done) == sorted(SPANS)
    query = "SELECT name FROM experiments JOIN trace_info USING (experiment_id) WHERE request_id = %s"
    assert rows(guarded.database_url, query, done.stdout.strip()) == [{"name": name}]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_key_is_made_and_revoked_while_headrace_runs(guarded: Guarded, protocol: str) -> None:
    name = f"revoked, {protocol}"
    secret = added(guarded.keys, name)
    span = otlp.request(otlp.span()).SerializeToString()
    headers = {"authorization": f"Bearer {secret}", "x_mlflow_experiment_id": "0"}
    assert guarded.running.post(span, **headers).status_code == 200  # at once
    guarded.keys("revoke", name)
    wait_until(lambda: guarded.running.post(span, **headers).status_code == 401, 3, "the key is still good")
    assert UNAUTHENTICATED[protocol] in run(guarded.running, protocol, bearer(secret)).stderr


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_key_of_one_experiment_opens_no_other(guarded: Guarded, protocol: str) -> None:
    own, other = f"own of {protocol}", f"other of {protocol}"
    secret = added(guarded.keys, "shop", "--experiment", own)
    before = answers(guarded.running, protocol).get(FORBIDDEN[protocol], 0)
    for more in ("x-mlflow-experiment-id=0", "x-mlflow-experiment-name=Default", f"x-mlflow-experiment-name={quote(other)}"):
        assert FORBIDDEN[protocol] in run(guarded.running, protocol, bearer(secret, more)).stderr
    assert answers(guarded.running, protocol)[FORBIDDEN[protocol]] == before + 3
    done = run(guarded.running, protocol, bearer(secret, f"x-mlflow-experiment-name={quote(own)}"))
    assert guarded.stored(done) == sorted(SPANS)
    query = "SELECT experiment_id AS id, name FROM experiments WHERE name IN (%s, %s)"
    (found,) = rows(guarded.database_url, query, own, other)  # what is forbidden is not made
    assert found["name"] == own
    assert run(guarded.running, protocol, bearer(secret, f"x-mlflow-experiment-id={found['id']}")).stderr == ""


def test_a_key_bound_by_id_is_good_for_the_name(guarded: Guarded) -> None:
    authorization = f"Bearer {added(guarded.keys, 'shop', '--experiment', '0')}"
    span = otlp.request(otlp.span()).SerializeToString()
    for name, status in (("Default", 200), ("new", 403)):
        answer = guarded.running.post(span, authorization=authorization, x_mlflow_experiment_name=name)
        assert answer.status_code == status


def test_of_a_request_the_resources_that_the_key_allows_are_stored(guarded: Guarded) -> None:
    mine, other = otlp.span(), otlp.span()
    request = otlp.request(mine, mlflow_experiment_name="shop")
    request.resource_spans.append(otlp.resource_spans(other, mlflow_experiment_name="other"))
    authorization = f"Bearer {added(guarded.keys, 'shop', '--experiment', 'shop')}"
    answer = guarded.running.post(request.SerializeToString(), authorization=authorization)
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert (answer.status_code, partial.rejected_spans) == (200, 1)
    assert "API key" in partial.error_message
    wait_until(guarded.running.drained)
    ids = [span.span_id.hex() for span in (mine, other)]
    found = rows(guarded.database_url, "SELECT span_id FROM spans WHERE span_id = ANY(%s)", ids)
    assert [row["span_id"] for row in found] == ids[:1]


# The ways to send it


def basic(user: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


SPELLINGS: dict[str, Callable[[str], tuple[str, str]]] = {
    "Bearer": lambda secret: ("authorization", f"Bearer {secret}"),
    "in lower case": lambda secret: ("authorization", f"bearer  {secret}"),
    "twice": lambda secret: ("authorization", f"Bearer {secret}, Bearer {secret}"),
    "Basic": lambda secret: ("authorization", basic("anybody", secret)),
    "x-api-key": lambda secret: ("x-api-key", secret),
    "api-key": lambda secret: ("api-key", secret),
    "api_key": lambda secret: ("api_key", secret),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_key_is_found_in_each_of_its_spellings(guarded: Guarded, spelling: str) -> None:
    name, value = SPELLINGS[spelling](added(guarded.keys, "shop"))
    request = otlp.request(otlp.span(), mlflow_experiment_id="0")
    headers = {"content-type": "application/x-protobuf", name: value}
    answer = httpx.post(f"{guarded.running.url}/v1/traces", content=request.SerializeToString(), headers=headers)
    assert answer.status_code == 200
    with grpc.insecure_channel(guarded.running.grpc_url.removeprefix("http://")) as channel:
        export = channel.unary_unary(PATH, ExportTraceServiceRequest.SerializeToString, ExportTraceServiceResponse.FromString)
        assert export(request, metadata=((name, value),), timeout=20) == ExportTraceServiceResponse()


NO_KEYS = [
    "",
    "Bearer",
    "Basic",
    "Basic !",
    basic("headrace_0_0", ""),
    "Digest x",
    "Bearer headrace",
    "Bearer _",
    "Bearer \xe9",
]


@pytest.fixture
def strict(headrace: Launcher, database_url: str, keys: Shell, file: Path) -> Running:
    """One of the test's own, to which wrong keys may be sent."""
    keys("add", "nobody's")
    return headrace("serve", database_url=database_url, api_keys=file)


def test_what_is_no_key_is_a_401_that_says_how_to_send_one(strict: Running) -> None:
    for authorization in NO_KEYS:
        headers = [(b"content-type", b"application/x-protobuf"), (b"authorization", authorization.encode("latin-1"))]
        answer = httpx.post(f"{strict.url}/v1/traces", content=b"\xff", headers=headers)
        assert answer.status_code == 401, authorization
        assert answer.headers["www-authenticate"].startswith("Bearer")
        status = Status.FromString(answer.content)
        assert status.code == 16
        assert "OTEL_EXPORTER_OTLP_TRACES_HEADERS" in status.message


def test_metrics_and_logs_ask_for_a_key_and_health_does_not(strict: Running) -> None:
    for path in ("/v1/metrics", "/v1/logs"):
        answer = httpx.post(strict.url + path, content=b"", headers={"content-type": "application/x-protobuf"})
        assert answer.status_code == 401
    for path in ("/healthz", "/readyz", "/metrics"):
        assert httpx.get(strict.url + path).status_code == 200
    assert 'headrace_auth_failures_total{reason="missing"} 2.0' in httpx.get(f"{strict.url}/metrics").text


def until_slowed_down(url: str) -> list[httpx.Response]:
    """Sends wrong keys over one connection until an answer is not 401, 1,000 at most; gives all answers. It has to be faster
    than one a second, which is how fast an address may fail for ever."""
    answers: list[httpx.Response] = []
    with httpx.Client(timeout=30) as client:
        while len(answers) < 1000 and (not answers or answers[-1].status_code == 401):
            answers.append(client.post(f"{url}/v1/traces", headers={"authorization": f"Bearer headrace_{len(answers)}_x"}))
    return answers


def test_wrong_keys_are_slowed_down_and_a_good_one_behind_the_same_address_is_not(strict: Running, keys: Shell) -> None:
    secret = added(keys, "shop")
    refused = until_slowed_down(strict.url)
    assert [answer.status_code for answer in refused[:-1]] == [401] * (len(refused) - 1)
    assert len(refused) > 20
    assert refused[-1].status_code == 429
    assert int(refused[-1].headers["retry-after"]) >= 1
    assert strict.post(b"", authorization=f"Bearer {secret}").status_code == 200


# The file, by itself


def test_a_key_whose_time_is_over_is_refused_in_words(tmp_path: Path) -> None:
    now = datetime.now(timezone.utc)
    path = tmp_path / "keys.json"
    secrets = {}
    for name, expires in (("over", now - timedelta(seconds=1)), ("good", now + timedelta(minutes=1))):
        key, secrets[name] = new_key(name, expires=expires)
        Keys(path).add(key)
    serving = Keys.open(path)
    assert serving.authenticate({"x-api-key": secrets["good"]}, "").name == "good"
    with pytest.raises(Unauthenticated, match="'over' has expired"):
        serving.authenticate({"x-api-key": secrets["over"]}, "")


def test_a_file_that_becomes_unreadable_leaves_the_keys_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key, secret = new_key("shop")
    Keys(path).add(key)
    serving = Keys.open(path)
    for damage in ("{", None):
        path.write_text("{") if damage else path.unlink()
        serving._checked = 0  # so long ago that it looks again
        assert serving.authenticate({"x-api-key": secret}, "").id == key.id


def refusal(file: Keys, address: str) -> Exception:
    """What a request without a key is answered."""
    with pytest.raises((Unauthenticated, RateLimited)) as caught:
        file.authenticate({}, address)
    return caught.value


def test_one_address_s_failures_are_not_another_s(tmp_path: Path) -> None:
    file = Keys(tmp_path / "keys.json")
    assert isinstance([refusal(file, "10.0.0.1") for _ in range(100)][-1], RateLimited)
    assert isinstance(refusal(file, "10.0.0.2"), Unauthenticated)
