"""`headrace serve`: the receiver and the writer on an MLflow database that exists already. `headrace receive` and `headrace
write`: one of the two, with Kafka between them."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.config import Config
    from headrace.host import Host
    from headrace.host.roles import Role


def serve(config: "Config", role: str = "serve") -> None:
    """Runs in the role with this name until a signal.

    Raises:
        StartError: it cannot start.
    """
    from headrace.host.build import open_database
    from headrace.host.roles import Role
    from headrace.local.private import PRIVATE
    from headrace.telemetry.logging import log

    os.umask(PRIVATE)
    database_url = _database_url(config, role)
    host = take_ports(config, Role(role))
    open_database(host.open(database_url), config.create_experiments, bool(config.retention))
    ports = {"http_port": host.port, "grpc_port": host.grpc_port} if Role(role).receives else {"http_port": host.port}
    host.run(lambda: log.info("ready", role=role, host=config.host, workers=config.workers, **ports), lambda: None)


def _database_url(config: "Config", role: str) -> str:
    """The URL of Postgres.

    Raises:
        StartError: it is not set, or the role needs Kafka and its URL is not set.
    """
    from headrace.errors import StartError

    if config.database_url is None:
        raise StartError(
            "HEADRACE_DATABASE_URL is not set: point it at MLflow's Postgres, `postgresql://user:password@host:5432/db`; "
            "or run `headrace up`, which brings a Postgres and an MLflow UI along."
        )
    if role != "serve" and config.kafka is None:
        raise StartError(
            f"HEADRACE_QUEUE_URL is not set, and `headrace {role}` is one side of a queue in Kafka: set it to "
            "`kafka://host:9092/otlp_spans`; or run `headrace serve`, which has its queue on disk."
        )
    return config.database_url.get_secret_value()


def take_ports(config: "Config", role: "Role | None" = None) -> "Host":
    """Opens the host for these settings, which takes its ports. Warns if they are open to anybody. `role`: serve by default.

    Raises:
        StartError: a port is taken, or something in HEADRACE_DIALECTS is wrong.
    """
    from headrace.host.choose import open_host
    from headrace.host.roles import Role
    from headrace.mlflow.translate.dialects import known

    known(config.dialects)  # here, and not seconds later in each worker
    role = role or Role.SERVE
    if role.receives:
        _warn_if_open(config)
    return open_host(config, role)


def _warn_if_open(config: "Config") -> None:
    """Warns if anybody who reaches the address may write: it is not loopback, neither keys nor client certificates are
    asked for, and no setting says that this is meant."""
    from headrace.telemetry.logging import log

    if not (config.on_loopback or config.trusted_network or config.knows_clients):
        log.warning(
            "ANYBODY WHO REACHES THIS ADDRESS MAY WRITE",
            host=config.host,
            mend="set HEADRACE_API_KEYS (`headrace keys add NAME`) or HEADRACE_TLS_CLIENT_CA",
        )
