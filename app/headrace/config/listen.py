"""Where Headrace listens, with how many processes, and to which web pages it answers."""

import re
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from headrace.config.values import Port, Text


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def reachable(host: str) -> str:
    """An address to listen on → one at which this machine is reached: every address includes this machine's own."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


class Listen(BaseModel):
    """Addresses, ports, paths, and processes behind them."""

    host: str = Field(
        "127.0.0.1",
        description="Address that the receiver listens on. The MLflow UI of `up` stays on 127.0.0.1: see `HEADRACE_UI_HOST`.",
    )
    trusted_network: bool = Field(
        False,
        description="Whether everybody who reaches `HEADRACE_HOST` is meant to write: then no warning at the start says so. "
        "docker-compose.yaml sets it, for it publishes the ports to this machine only.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Names, beside localhost, by which HTTP requests may call Headrace (their header `Host`), separated by "
        "commas: `otel.example`. Needed where it listens on 127.0.0.1 behind a proxy. `*`: any. Unset: any, unless it listens "
        "on a loopback address.",
    )
    http_port: Port = Field(4318, description="Port of OTLP/HTTP, `/healthz`, `/readyz` and `/metrics`.")
    grpc_port: Port = Field(4317, description="Port of OTLP/gRPC and of gRPC's health service.")
    ui_host: str = Field(
        "127.0.0.1",
        description="Address that the MLflow UI of `up` listens on. It asks for no key and no password: whoever reaches "
        "it reads, changes and deletes everything.",
    )
    ui_port: Port = Field(5000, description="Port of the MLflow UI that `up` starts.")
    ui_url: Text = Field(
        None,
        description="URL at which people reach the MLflow UI, for links. Unset: `http://localhost:` and `HEADRACE_UI_PORT`.",
    )
    mlflow_url: Text = Field(
        None,
        description="URL at which Headrace's commands reach the MLflow UI, where it is another than `HEADRACE_UI_URL`: from "
        "within a container, for instance.",
    )
    ui_patience_seconds: float = Field(
        60,
        gt=0,
        description="Seconds after which `up` warns that the MLflow UI or the console does not answer yet. It goes on "
        "waiting, and spans are taken meanwhile.",
    )
    path_prefix: str = Field(
        "",
        description="Prefix of the OTLP/HTTP paths: `/otel` → `/otel/v1/traces`. The paths without it work, too, and so does "
        "any path that ends in `/v1/traces`.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins of the web pages that may send spans, separated by commas: `https://shop.example`, "
        "`https://*.example`, or `*` for all. Unset: none.",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Number of processes that receive and write, each with a queue of its own, behind the same "
        "ports. The limits in bytes are for all of them together.",
    )
    shutdown_seconds: float = Field(
        10,
        ge=0,
        description="Seconds for which a stop waits for the queue to drain. The rest stays on disk for the next start.",
    )

    @field_validator("path_prefix", mode="after")
    @classmethod
    def _check_prefix(cls, value: str) -> str:
        if not re.fullmatch(r"(/[\w.~-]+)*", value):
            raise ValueError("must look like `/otel`: a slash before each part, and none at the end")
        return value

    @property
    def on_loopback(self) -> bool:
        """Whether the receiver listens on this machine only."""
        return is_loopback(self.host)

    @property
    def ui_link(self) -> str:
        """The URL of the MLflow UI in links, without a slash at its end."""
        return (self.ui_url or f"http://localhost:{self.ui_port}").rstrip("/")

    @property
    def mlflow_api(self) -> str:
        """The URL at which this process asks MLflow, without a slash at its end."""
        return (self.mlflow_url or self.ui_link).rstrip("/")

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        names = tuple(name.strip().lower().removesuffix(".") for name in value.split(",") if name.strip())
        if any("/" in name or ":" in name for name in names):
            raise ValueError("must be names, without a scheme and without a port: `otel.example`")
        return names

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: Any) -> Any:
        return (
            tuple(origin.strip().rstrip("/") for origin in value.split(",") if origin.strip())
            if isinstance(value, str)
            else value
        )
