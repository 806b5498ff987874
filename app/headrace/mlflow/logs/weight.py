"""How many bytes a request of logs becomes when it is written, told before anything of it is built. Pure; no I/O."""

from typing import Any

_TIMES = 8
"""What a record becomes at the most, about: it waits, it is kept in base64 beside its span, and it is shown in JSON."""
_ROW = 500
"""What a row needs beside the record."""


def weigh_logs(delivery: Any, limit: int) -> int:  # noqa: ARG001 - one estimate is good enough
    """The bytes of all rows of the delivery, the resource and scope of each record among them."""
    total = 0
    for resource in delivery.request.resource_logs:
        for scope in resource.scope_logs:
            shared = resource.resource.ByteSize() + scope.scope.ByteSize()
            total += sum(_ROW + _TIMES * (shared + record.ByteSize()) for record in scope.log_records)
    return total
