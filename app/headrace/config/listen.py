"""Where Headrace listens, with how many processes, and to which web pages it answers."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from headrace.config.values import Port


class Listen(BaseModel):
    """Addresses, ports, paths, and processes behind them."""

    host: str = Field(
        "127.0.0.1", description="Address that the receiver listens on. With `up`, the MLflow UI listens on it, too."
    )
    http_port: Port = Field(4318, description="Port of OTLP/HTTP, `/healthz`, `/readyz` and `/metrics`.")
    grpc_port: Port = Field(4317, description="Port of OTLP/gRPC and of gRPC's health service.")
    ui_port: Port = Field(5000, description="Port of the MLflow UI that `up` starts.")
    ui_patience_seconds: float = Field(
        60,
        gt=0,
        description="Seconds after which `up` warns that the MLflow UI does not answer yet. It goes on waiting, and spans "
        "are taken meanwhile.",
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

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: Any) -> Any:
        return (
            tuple(origin.strip().rstrip("/") for origin in value.split(",") if origin.strip())
            if isinstance(value, str)
            else value
        )
