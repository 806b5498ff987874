"""Where Headrace keeps what it was given: Postgres, and a directory of its own."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from headrace.config.values import Directory, Secret

_HOME, _OF_ROOT = Path("~/.headrace"), Path("/var/lib/headrace")


class Store(BaseModel):
    """Postgres and the data directory."""

    database_url: Secret = Field(
        None,
        description="The Postgres that holds MLflow's tables: `postgresql://user:password@host:5432/db`. `serve` "
        "needs it; `up` brings its own.",
    )
    data_dir: Directory = Field(
        _HOME,
        description="Directory of the disk queue. `up` also keeps its embedded Postgres and MLflow's artifacts there. For "
        "root: `/var/lib/headrace`, unless `~/.headrace` is there already.",
    )

    @model_validator(mode="before")
    @classmethod
    def _choose_directory_of_root(cls, values: Any) -> Any:
        # Postgres does not run as root, and nobody else may enter root's home.
        if isinstance(values, dict) and os.geteuid() == 0 and not _HOME.expanduser().exists():
            return {"data_dir": _OF_ROOT} | values
        return values

    @field_validator("database_url", mode="after")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        schemes = ("postgresql://", "postgresql+psycopg://", "postgres://")
        if value is not None and not value.get_secret_value().startswith(schemes):
            raise ValueError("must start with `postgresql://`: Headrace writes to Postgres only")
        try:
            if value is not None:
                _ = urlsplit(value.get_secret_value()).port
        except ValueError:  # its text would repeat the value
            raise ValueError(
                "must look like `postgresql://user:password@host:5432/db`; percent-encode `/`, `@`, `:` and `#` in the password"
            ) from None
        return value


def sqlalchemy_url(url: str) -> str:
    """A URL in libpq's spelling → the one with which SQLAlchemy (and so MLflow) uses psycopg 3."""
    return f"postgresql+psycopg://{url.partition('://')[2]}"
