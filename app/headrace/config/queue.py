"""Which queue there is, and how much the disk queue holds."""

from functools import lru_cache

from pydantic import BaseModel, Field, field_validator

from headrace.config.kafka import KafkaUrl
from headrace.config.values import MIB, Text

_parsed = lru_cache(maxsize=8)(KafkaUrl.parse)


class Queue(BaseModel):
    """The queue: on disk, or in Kafka."""

    queue_url: Text = Field(
        None,
        description="The topic of Kafka that is the queue: `kafka://host:9092,host:9092/otlp_spans`. `headrace receive` and "
        "`headrace write` need it; it needs `headrace[kafka]`. Parameters, as in `?tls=true&group=…`: see "
        "[docs/scale.md](scale.md). Unset: the queue is on this machine's disk.",
    )
    queue_timeout_seconds: float = Field(
        4,
        gt=0,
        le=300,
        description="Seconds after which a request that Kafka has not acknowledged is answered 503. It has to be shorter than "
        "the patience of exporters, which is 10 seconds by default.",
    )
    spill: str = Field(
        "off",
        pattern="^(off|disk)$",
        description="What becomes of requests while Kafka does not take them. `off`: they are answered 503. `disk`: they are "
        "taken into the disk queue, and go to Kafka, in order, once it is back.",
    )
    outage_hours: float = Field(
        24,
        gt=0,
        description="The longest outage of Postgres, in hours, that is to cost nothing. The start warns if the topic of "
        "`HEADRACE_QUEUE_URL` keeps its records for a shorter time.",
    )

    queue_max_bytes: int = Field(
        4096 * MIB,
        ge=MIB,
        description="Most bytes that the disk queue holds. Beyond that, requests are answered 503 with `Retry-After`.",
    )
    queue_resume_percent: int = Field(
        90,
        ge=1,
        le=100,
        description="Low water: once the queue or its disk was full, the queue takes requests again when it has "
        "drained to this percentage of `HEADRACE_QUEUE_MAX_BYTES`. This keeps readiness from flapping.",
    )
    min_free_bytes: int = Field(
        256 * MIB,
        ge=0,
        description="Bytes that the queue leaves free on its disk. With fewer free: 503 with `Retry-After`. `0`: it "
        "uses the whole disk.",
    )

    @field_validator("queue_url", mode="after")
    @classmethod
    def _check_queue_url(cls, value: str | None) -> str | None:
        if value is not None:
            _parsed(value)
        return value

    @property
    def kafka(self) -> KafkaUrl | None:
        """The topic that is the queue. None: the queue is on disk."""
        return None if self.queue_url is None else _parsed(self.queue_url)
