"""Where Headrace keeps what it was given: Postgres, and a directory of its own."""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator

from headrace.config.values import Directory, Secret


class Store(BaseModel):
    """Postgres and the data directory."""

    database_url: Secret = Field(
        None,
        description="The Postgres that holds MLflow's tables: `postgresql://user:password@host:5432/db`. `serve` "
        "needs it; `up` brings its own.",
    )
    data_dir: Directory = Field(
        Path("~/.headrace"),
        description="Directory of the disk queue. `up` also keeps its embedded Postgres and MLflow's artifacts there.",
    )

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
