"""TLS and mutual TLS: with real exporters over HTTP and gRPC, and with certificates that are renewed while Headrace runs."""

import socket
import ssl
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import grpc
import httpx
import pytest
from authority import Authority, Pair
from conftest import Launcher, Running, rows, wait_until
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from fraud_scorer import PROTOCOLS, SPANS, answers, run

from headrace.cli.healthy import healthy
from headrace.errors import StartError
from headrace.receiver.tls import Certificates

HEADERS = "x-mlflow-experiment-id=0"


def secured(headrace: Launcher, database_url: str, pair: Pair, clients: Authority | None = None, **settings: object) -> Running:
    """A Headrace with TLS; mutual TLS where there is an authority of clients."""
    mutual = {"tls_client_ca": clients.path} if clients else {}
    settings |= mutual | {"database_url": database_url, "tls_cert": pair.cert, "tls_key": pair.key}
    running = headrace("serve", wait=False, **settings)
    wait_until(lambda: '"event": "ready"' in running.log.read_text(), 60, f"not ready: {running.log.read_text()}")
    url, grpc_url = (url.replace("http://", "https://") for url in (running.url, running.grpc_url))
    return replace(running, url=url, grpc_url=grpc_url)


def trusting(authority: Authority, client: Pair | None = None) -> ssl.SSLContext:
    """A client's side of a connection."""
    context = ssl.create_default_context(cafile=authority.path)
    if client is not None:
        context.load_cert_chain(client.cert, client.key)
    return context


def serial(url: str, authority: Authority) -> int:
    """The serial number of the certificate that a new connection is shown."""
    context = trusting(authority)
    context.set_alpn_protocols(["h2"])  # without which gRPC hangs up
    host, port = url.removeprefix("https://").split(":")
    with socket.create_connection((host, int(port)), 10) as plain, context.wrap_socket(plain, server_hostname=host) as secure:
        shown = secure.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def trust(authority: Authority, client: Pair | None = None) -> dict[str, str]:
    """The exporter's settings, as any SDK reads them."""
    settings = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(authority.path)}
    if client is not None:
        settings["OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"] = str(client.cert)
        settings["OTEL_EXPORTER_OTLP_CLIENT_KEY"] = str(client.key)
    return settings


def stored(database_url: str) -> list[str]:
    return sorted(row["name"] for row in rows(database_url, "SELECT name FROM spans"))


def accepts(running: Running, protocol: str, authority: Authority, client: Pair | None) -> bool:
    """Whether a request over a new connection is answered."""
    if protocol != "grpc":
        try:
            return httpx.get(f"{running.url}/healthz", verify=trusting(authority, client), timeout=20).status_code == 200
        except httpx.TransportError:
            return False
    pair = (client.key.read_bytes(), client.cert.read_bytes()) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.path.read_bytes(), *pair)
    # Channels of the same target share a connection else.
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(running.grpc_url.removeprefix("https://"), credentials, options) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check", bytes, bytes)
        try:
            check(b"", timeout=20)
        except grpc.RpcError:
            return False
        return True


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def clients(tmp_path: Path) -> Authority:
    """Issues the clients' certificates."""
    return Authority(tmp_path, "clients")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_exporter_that_trusts_the_authority_is_served_and_no_other(
    headrace: Launcher, database_url: str, authority: Authority, protocol: str
) -> None:
    running = secured(headrace, database_url, authority.issue("server"))
    assert "Failed" in run(running, protocol, HEADERS, OTEL_EXPORTER_OTLP_TIMEOUT="1").stderr
    plain = replace(running, url=running.url.replace("https", "http"), grpc_url=running.grpc_url.replace("https", "http"))
    assert "Failed" in run(plain, protocol, HEADERS, OTEL_EXPORTER_OTLP_TIMEOUT="1").stderr
    assert run(running, protocol, HEADERS, **trust(authority)).stderr == ""
    wait_until(lambda: stored(database_url) == sorted(SPANS))
    assert answers(running, protocol, verify=trusting(authority)) in ({"200": 1}, {"OK": 1})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_with_mutual_tls_only_clients_with_a_good_certificate_are_served(
    headrace: Launcher, database_url: str, tmp_path: Path, authority: Authority, clients: Authority, protocol: str
) -> None:
    running = secured(headrace, database_url, authority.issue("server"), clients)
    stranger = Authority(tmp_path, "strangers").issue("stranger")
    for client in (None, stranger):
        settings = trust(authority, client) | {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
        assert "Failed" in run(running, protocol, HEADERS, **settings).stderr
    client = clients.issue("client")
    assert run(running, protocol, HEADERS, **trust(authority, client)).stderr == ""
    wait_until(lambda: stored(database_url) == sorted(SPANS))
    assert answers(running, protocol, verify=trusting(authority, client)) in ({"200": 1}, {"OK": 1})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_renewed_certificate_is_shown_to_new_connections_and_old_ones_stay(
    headrace: Launcher, database_url: str, authority: Authority, protocol: str
) -> None:
    before = authority.issue("server")
    running = secured(headrace, database_url, before)
    url = running.grpc_url if protocol == "grpc" else running.url
    with httpx.Client(verify=trusting(authority)) as kept:
        first = kept.get(f"{running.url}/healthz").extensions["network_stream"].get_extra_info("socket")
        assert serial(url, authority) == before.serial
        after = authority.issue("server")
        wait_until(lambda: serial(url, authority) == after.serial, 10, "the old certificate is still shown")
        again = kept.get(f"{running.url}/healthz").extensions["network_stream"].get_extra_info("socket")
        assert again.getsockname() == first.getsockname()
    assert run(running, protocol, HEADERS, **trust(authority)).stderr == ""
    wait_until(lambda: stored(database_url) == sorted(SPANS))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_clients_of_an_authority_that_was_taken_out_are_not_served_any_more(
    headrace: Launcher, database_url: str, tmp_path: Path, authority: Authority, clients: Authority, protocol: str
) -> None:
    running = secured(headrace, database_url, authority.issue("server"), clients)
    old, new = clients.issue("client"), Authority(tmp_path, "others").issue("other")
    assert accepts(running, protocol, authority, old)
    assert not accepts(running, protocol, authority, new)
    (tmp_path / "others.pem").replace(clients.path)
    wait_until(lambda: accepts(running, protocol, authority, new), 10, "the new authority's clients are refused")
    assert not accepts(running, protocol, authority, old)


def test_each_of_several_workers_speaks_tls_and_hears_of_a_renewal(
    headrace: Launcher, database_url: str, authority: Authority
) -> None:
    running = secured(headrace, database_url, authority.issue("server"), workers=2)
    for protocol in PROTOCOLS:
        assert run(running, protocol, HEADERS, **trust(authority)).stderr == ""
    after = authority.issue("server").serial
    shown = [running.url, running.grpc_url] * 10  # twenty connections: each worker gets some
    wait_until(lambda: {serial(url, authority) for url in shown} == {after}, 10)


def test_files_that_cannot_be_used_leave_those_before_and_are_said(
    headrace: Launcher, database_url: str, authority: Authority
) -> None:
    pair = authority.issue("server")
    running = secured(headrace, database_url, pair)
    kept = pair.key.read_bytes()
    pair.key.write_bytes(authority.issue("another").key.read_bytes())
    wait_until(lambda: "TLS files cannot be used" in running.log.read_text(), 10)
    assert serial(running.url, authority) == serial(running.grpc_url, authority) == pair.serial
    pair.key.unlink()
    assert serial(running.url, authority) == serial(running.grpc_url, authority) == pair.serial
    pair.key.write_bytes(kept)
    wait_until(lambda: "TLS files read again" in running.log.read_text(), 10)
    renewed = authority.issue("server")
    wait_until(lambda: serial(running.url, authority) == serial(running.grpc_url, authority) == renewed.serial, 10)


def test_a_link_that_is_turned_to_other_files_is_a_renewal(
    headrace: Launcher, database_url: str, tmp_path: Path, authority: Authority
) -> None:
    """As Kubernetes renews a mounted secret: `tls.crt` is a link into `data`, which is a link to a directory."""
    issued = authority.issue("server")
    for directory in ("one", "two"):
        (tmp_path / directory).mkdir()
    for file in (issued.cert, issued.key):
        (tmp_path / "one" / file.name).write_bytes(file.read_bytes())
    renewed = authority.issue("server")
    for file in (renewed.cert, renewed.key):
        (tmp_path / "two" / file.name).write_bytes(file.read_bytes())
        file.unlink()
        file.symlink_to(tmp_path / "data" / file.name)
    (tmp_path / "data").symlink_to("one")
    running = secured(headrace, database_url, issued)
    assert serial(running.url, authority) == issued.serial
    (tmp_path / "fresh").symlink_to("two")
    (tmp_path / "fresh").replace(tmp_path / "data")
    wait_until(lambda: serial(running.url, authority) == serial(running.grpc_url, authority) == renewed.serial, 10)


def test_tls_before_1_2_is_not_spoken(headrace: Launcher, database_url: str, authority: Authority) -> None:
    running = secured(headrace, database_url, authority.issue("server"))
    for version, spoken in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
        context = trusting(authority)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the old version
            context.minimum_version = context.maximum_version = version
        if spoken:
            assert httpx.get(f"{running.url}/healthz", verify=context).status_code == 200
        else:
            with pytest.raises(httpx.ConnectError, match=r"EOF|protocol version|handshake|reset"):
                httpx.get(f"{running.url}/healthz", verify=context)


# At the start


def test_pairs_that_do_not_belong_together_are_named_at_the_start(
    headrace: Launcher, database_url: str, authority: Authority
) -> None:
    pair, other = authority.issue("server"), authority.issue("other")
    running = headrace("serve", wait=False, database_url=database_url, tls_cert=pair.cert, tls_key=other.key)
    assert running.process.wait(30) == 1
    assert str(other.key) in running.log.read_text()


def locked(pair: Pair) -> None:
    """Gives the key a password."""
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    password = serialization.BestAvailableEncryption(b"secret")
    pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, password))


@pytest.mark.parametrize(
    "damage",
    [
        lambda pair: pair.cert.unlink(),
        lambda pair: pair.key.unlink(),
        lambda pair: pair.cert.write_text("no certificate"),
        lambda pair: pair.key.write_text(""),
        locked,
    ],
)
def test_a_file_that_cannot_be_used_is_a_start_error(authority: Authority, damage: Callable[[Pair], None]) -> None:
    """Never a question on the terminal either, as OpenSSL asks it for a key with a password."""
    pair = authority.issue("server")
    damage(pair)
    with pytest.raises(StartError, match=r"TLS: .*server\.(crt|key)") as caught:
        Certificates(pair.cert, pair.key, None)
    assert damage is not locked or "has a password" in str(caught.value)


def test_an_authority_of_clients_that_is_none_is_a_start_error(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("server")
    for content in ("", "no certificate"):
        (tmp_path / "clients.pem").write_text(content)
        with pytest.raises(StartError, match=r"clients\.pem"):
            Certificates(pair.cert, pair.key, tmp_path / "clients.pem")


@pytest.mark.parametrize("mutual", [False, True])
def test_the_health_check_of_containers_speaks_tls(headrace: Launcher, database_url: str, tmp_path: Path, mutual: bool) -> None:
    authority = Authority(tmp_path, "authority")
    server = secured(headrace, database_url, authority.issue("server"), authority if mutual else None)
    settings = {
        "HEADRACE_HTTP_PORT": server.url.rpartition(":")[2],
        "HEADRACE_TLS_CERT": "any",
        **({"HEADRACE_TLS_CLIENT_CA": "any"} if mutual else {}),
    }
    assert healthy(settings) == ""
    assert "HEADRACE_TLS_CERT" in healthy(settings | {"HEADRACE_TLS_CERT": ""})
    assert server.stop() == 0
    assert "No answer" in healthy(settings)
