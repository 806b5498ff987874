"""How much the disk queue holds."""

from pydantic import BaseModel, Field

from headrace.config.values import MIB


class Queue(BaseModel):
    """The disk queue."""

    queue_max_bytes: int = Field(
        4096 * MIB, ge=MIB, description="Most bytes that the disk queue holds. Over it: 503 with `Retry-After`."
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
