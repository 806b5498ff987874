"""What the profile `secure` of docker-compose.yaml needs before its first start: a certificate, a key, a password.

    setup.py make             makes what is missing, and renews a certificate of ours that ends within 30 days
    setup.py show             prints the first key, the password of MLflow's `admin`, and the certificate of the authority
    setup.py keys add NAME    another key: `headrace keys`, with all its options

Each reader has a folder (a volume) of its own. Only the user of the containers can read what is in it.
"""

import configparser
import ipaddress
import os
import secrets
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROOT = Path(os.environ.get("SECURE_ROOT", "/run/secure"))
PRIVATE, TLS, KEYS, LOGIN = (ROOT / name for name in ("private", "tls", "keys", "login"))
SERVICES = ("localhost", "secure-headrace", "secure-console", "secure-ui")
USER = 10001
"""Of all services that read this: headrace, MLflow, nginx."""
YEARS, DAYS, RENEW_DAYS = 10, 397, 30
"""The authority's years, a certificate's days, and how many of them may be left."""


def write(path: Path, content: bytes) -> None:
    """A whole file, readable to its owner only, or none."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.chmod(0o600)
    new.replace(path)


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as text."""
    kind = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())


def builder(name: str, issuer: str, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
    """A certificate of the key, from an hour ago, for clocks differ."""
    now = datetime.now(timezone.utc)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer)]
    made = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number())
    return made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=days))


def authority() -> ec.EllipticCurvePrivateKey:
    """The key of our authority, which is made with its certificate where there is none."""
    path = PRIVATE / "ca.key"
    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        made = builder("Headrace", "Headrace", key, 365 * YEARS)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        write(TLS / "ca.crt", made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        write(path, pem(key))
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - it is what was written above
    return key


def alternative(name: str) -> x509.GeneralName:
    """A name or an address by which clients call."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def certificate(host: str) -> None:
    """Makes the servers' certificate. One that the user has given stays as it is: it has no authority of ours beside it."""
    path = TLS / "server.crt"
    if path.exists() and not (TLS / "ca.crt").exists():
        print("the certificate is yours")
        return
    wanted = [alternative(name) for name in dict.fromkeys((host, *SERVICES, "127.0.0.1", "::1"))]
    if path.exists() and good(x509.load_pem_x509_certificate(path.read_bytes()), wanted):
        return
    issuer, key = authority(), ec.generate_private_key(ec.SECP256R1())
    made = builder(host, "Headrace", key, DAYS).add_extension(x509.SubjectAlternativeName(wanted), critical=False)
    made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    write(TLS / "server.key", pem(key))
    write(path, made.sign(issuer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    print("a certificate is made for", host)


def good(found: x509.Certificate, wanted: list[x509.GeneralName]) -> bool:
    """Whether it has these names, and some time left."""
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    left = found.not_valid_after_utc - datetime.now(timezone.utc)
    return set(wanted) <= set(names) and left > timedelta(days=RENEW_DAYS)


def headrace_keys(*arguments: str) -> str:
    """`headrace keys` with the arguments → what it prints."""
    command = ["headrace", "keys", *arguments]
    # Not to the log of this container, where the key would stay.
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - our own


def first_key() -> None:
    """A key that may write to all experiments, for a start."""
    if not (PRIVATE / "key").exists():
        write(PRIVATE / "key", headrace_keys("add", "first").encode())


def login() -> None:
    """MLflow's settings for its login, with a made-up password of `admin`. It reads that at its first start only."""
    if (LOGIN / "basic_auth.ini").exists():
        return
    password = secrets.token_urlsafe(18)
    settings = configparser.ConfigParser()
    settings["mlflow"] = {
        "default_permission": "READ",
        "database_uri": "postgresql+psycopg://mlflow@postgres:5432/mlflow",
        "admin_username": "admin",
        "admin_password": password,
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }
    write(LOGIN / "flask", secrets.token_hex(32).encode())
    write(PRIVATE / "password", password.encode())
    with (LOGIN / "new").open("w") as file:
        settings.write(file)
    (LOGIN / "new").chmod(0o600)
    (LOGIN / "new").replace(LOGIN / "basic_auth.ini")


def show() -> None:
    """Prints what a client needs."""
    print(f"key: {(PRIVATE / 'key').read_text()}\nadmin: {(PRIVATE / 'password').read_text()}")
    if (TLS / "ca.crt").exists():
        print((TLS / "ca.crt").read_text().strip())


def hand_over() -> None:
    """Gives all files to the user of the containers, but for a certificate that is not ours."""
    ours = [KEYS, LOGIN, PRIVATE] + ([TLS] if (TLS / "ca.crt").exists() else [])
    for path in (path for folder in ours for path in folder.iterdir()):
        os.chown(path, USER, USER)


def main() -> None:
    """See the top."""
    if sys.argv[1] == "keys":
        print(headrace_keys(*sys.argv[2:]))
    elif sys.argv[1] == "show":
        show()
    else:
        certificate(os.environ["SECURE_HOST"])
        first_key()
        login()
    if os.getuid() == 0:
        hand_over()


if __name__ == "__main__":
    main()
