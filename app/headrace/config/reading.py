"""How much the read side may ask of Postgres: pages and Jaeger's API never slow the writer down."""

from pydantic import BaseModel, Field

from headrace.config.values import MIB


class Reading(BaseModel):
    """Limits of one question to Postgres, and of all of them at once."""

    read_connections: int = Field(
        4, ge=1, description="Most connections to Postgres that reading takes. They are not those of the writer."
    )
    read_seconds: float = Field(
        5,
        gt=0,
        description="Seconds that one question to Postgres may take. Over it: an error, and nothing is read.",
    )
    read_max_rows: int = Field(
        100_000,
        ge=100,
        description="Most rows of one answer: the spans of a trace, the names in a list, the edges of the map. Over it, the "
        "answer is cut short and says so.",
    )
    read_max_bytes: int = Field(
        64 * MIB, ge=MIB, description="Most bytes of stored spans that one answer is made of. Over it, the answer is cut short."
    )
    search_max_traces: int = Field(
        2000,
        ge=20,
        description="Most traces that a search looks at, the newest first: those of the service, or else of the experiments.",
    )
