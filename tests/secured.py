"""A real broker that wants TLS and passwords, and lets users do only what its rules say."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from authority import Authority
from brokers import Cluster, cluster
from conftest import free_port

PLAIN_USER, PASSWORD = "collector", "no-secret-of-anybody"
_LOGIN = "org.apache.kafka.common.security"


@dataclass(frozen=True)
class Secured:
    """`cluster` is its way in for those who administer, without TLS. `port` and `expired_port` are for users. The second's
    certificate has expired."""

    cluster: Cluster
    authority: Authority
    port: int
    expired_port: int
    directory: Path

    def url(self, topic: str, user: str, /, mechanism: str = "SCRAM-SHA-512", **parameters: object) -> str:
        """HEADRACE_QUEUE_URL for a user. His password is in a file of his name; parameters replace others of the URL."""
        file = self.directory / user
        if not file.exists():
            file.write_text(PASSWORD + "\n")
        port = parameters.pop("port", self.port)
        query = {"ca": self.authority.path, "sasl": mechanism, "username": user, "password_file": file} | parameters
        return f"kafka://localhost:{port}/{topic}?" + "&".join(f"{name}={value}" for name, value in query.items() if value)

    def set_password(self, user: str, password: str = PASSWORD) -> None:
        """Makes a user of SCRAM, or gives him another password."""
        from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

        way = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(user, way, password.encode())
        admin = self.cluster.admin()
        admin.alter_user_scram_credentials([change])[user].result(60)

    def allow(self, user: str, topic: str = "", group: str = "", operations: str = "") -> None:
        """Lets a user do this on the topic, or in the group. Operations: as in `DESCRIBE READ`."""
        from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

        where: tuple[Any, ...] = (ResourceType.GROUP, group) if group else (ResourceType.TOPIC, topic)
        rules = [
            AclBinding(*where, ResourcePatternType.LITERAL, f"User:{user}", "*", AclOperation[name], AclPermissionType.ALLOW)
            for name in operations.split()
        ]
        admin = self.cluster.admin()
        for done in admin.create_acls(rules).values():
            done.result(60)


@contextmanager
def secured_broker(directory: Path) -> Iterator[Secured]:
    """One broker; ended with the block. `directory`: for certificates and files of passwords."""
    authority = Authority(directory, "authority")
    users, expired = free_port(), free_port()
    settings: dict[str, object] = {
        "listeners": f",USERS://127.0.0.1:{users},EXPIRED://127.0.0.1:{expired}",
        "advertised.listeners": f",USERS://localhost:{users},EXPIRED://localhost:{expired}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,USERS:SASL_SSL,EXPIRED:SASL_SSL",
        "inter.broker.listener.name": "PLAINTEXT",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
    }
    for name in ("users", "expired"):
        pair, login = authority.issue(name, expired=name == "expired"), f"listener.name.{name}"
        store = directory / f"{name}.pem"
        store.write_bytes(pair.key.read_bytes() + pair.cert.read_bytes())
        settings |= {
            f"{login}.ssl.keystore.type": "PEM",
            f"{login}.ssl.keystore.location": store,
            f"{login}.scram-sha-512.sasl.jaas.config": f"{_LOGIN}.scram.ScramLoginModule required;",
            f"{login}.plain.sasl.jaas.config": f'{_LOGIN}.plain.PlainLoginModule required user_{PLAIN_USER}="{PASSWORD}";',
        }
    with cluster(more=settings) as made:
        yield Secured(made, authority, users, expired, directory)
