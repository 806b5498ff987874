"""Settings out of the environment: read, checked, and named when they are wrong."""

import os
from pathlib import Path

import pytest

from headrace.config import header_pairs, load, meant, sqlalchemy_url, unknown_variables
from headrace.errors import StartError


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HEADRACE_")]:
        monkeypatch.delenv(name)


def test_the_environment_is_read_and_the_command_line_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HTTP_PORT", "14318")
    monkeypatch.setenv("HEADRACE_WORKERS", "2")
    assert (load().http_port, load().workers) == (14318, 2)
    assert load(http_port=24318, workers=None).http_port == 24318
    assert load(workers=None).workers == 2


@pytest.mark.parametrize("name", ["database_url", "api_keys", "tls_cert", "traces_endpoint", "default_experiment"])
def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"HEADRACE_{name.upper()}", "")
    assert getattr(load(), name) is None


def test_lists_and_paths_are_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_CORS_ORIGINS", " https://a.example/ ,,https://b.example")
    monkeypatch.setenv("HEADRACE_DATA_DIR", "~/traces")
    monkeypatch.setenv("HOME", "/somebody")
    assert load().cors_origins == ("https://a.example", "https://b.example")
    assert load().data_dir == Path("/somebody/traces")


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("http_port", "secret", "must be a whole number"),
        ("http_port", "70000", "65535"),
        ("database_url", "mysql://me:secret@host/db", "Postgres only"),
        ("routes", "{secret", "is no JSON"),
        ("log_level", "secret", "must be debug, info, warning or error"),
        ("log_format", "secret", "must be auto, console or json"),
        ("enrich", "secret", "must be true or false"),
        ("header_seconds", "0", "must be over 0"),
        ("path_prefix", "secret", "must look like `/otel`"),
        ("database_url", "postgresql://me:sec/ret@host/db", "percent-encode"),
        (
            "routes",
            '[{"match": {"a": "*"}, "experiment": "x"}, {"matches": {}, "experiment": "x"}]',
            'rule 2: "matches" is not known, did you mean "match"\\?$',
        ),
        (
            "routes",
            '[{"match": {"a": "*"}, "experiment": "x", "secrets": 1}]',
            'rule 1: "secrets" is not known, known are match, experiment$',
        ),
        ("routes", '[{"match": {"service.name": 3}, "experiment": "x"}]', 'rule 1, "match": "service.name" must be a text$'),
        ("routes", '[{"match": {}}]', 'rule 1: "match" must not be empty; HEADRACE_ROUTES rule 1: "experiment" is missing$'),
        ("routes", "[3]", "rule 1 must be an object$"),
        ("routes", "{}", "must be a list$"),
    ],
)
def test_what_is_wrong_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str) -> None:
    monkeypatch.setenv(f"HEADRACE_{name.upper()}", value)
    with pytest.raises(StartError, match=f"HEADRACE_{name.upper()}.* {why}") as refused:
        load()
    assert "\n" not in str(refused.value)
    if "known" not in why:
        assert "secret" not in str(refused.value)


def test_an_option_is_called_what_it_is() -> None:
    with pytest.raises(StartError, match="Wrong settings: --http-port must be at most 65535"):
        load(http_port=70000)


def test_a_misspelt_variable_is_guessed() -> None:
    assert meant("HEADRACE_HTTPPORT") == "HEADRACE_HTTP_PORT"
    assert meant("HEADRACE_XYZ") == ""


@pytest.mark.parametrize("given", [{"tls_cert": "c"}, {"tls_key": "k"}, {"tls_client_ca": "a"}])
def test_tls_is_whole_or_not_at_all(given: dict[str, str]) -> None:
    with pytest.raises(StartError, match="HEADRACE_TLS_CERT"):
        load(**given)


def test_a_name_that_no_setting_has_is_found() -> None:
    assert unknown_variables({"HEADRACE_HTTP_PORT": "1", "HEADRACE_HTTPPORT": "1", "PATH": ""}) == ["HEADRACE_HTTPPORT"]


def test_headers_are_percent_decoded_and_their_names_lower_case() -> None:
    assert header_pairs("Authorization=Bearer%20x , b=1=2,") == {"authorization": "Bearer x", "b": "1=2"}
    with pytest.raises(ValueError, match="name=value"):
        header_pairs("a b=1")


def test_sqlalchemy_gets_psycopg_3() -> None:
    assert sqlalchemy_url("postgres://me@host/db?x=1") == "postgresql+psycopg://me@host/db?x=1"


def test_root_s_data_are_where_the_user_of_postgres_may_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/no/such/home")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert load().data_dir == Path("/no/such/home/.headrace")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert load().data_dir == Path("/var/lib/headrace")
    assert load(data_dir=Path("/elsewhere")).data_dir == Path("/elsewhere")
    monkeypatch.setattr(Path, "exists", lambda _: True)  # an earlier version has made it
    assert load().data_dir == Path("/no/such/home/.headrace")
