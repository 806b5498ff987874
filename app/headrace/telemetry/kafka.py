"""The metrics of the queue in Kafka."""

from headrace.telemetry.families import counter, gauge

KAFKA_RECORDS = counter(
    "headrace_kafka_records",
    "Records sent to Kafka: `acknowledged` by all replicas in sync; `failed`: not in time, and the client was told.",
    outcome=("acknowledged", "failed"),
)
KAFKA_AWAY = gauge(
    "headrace_kafka_away",
    "1 while Kafka takes nothing: it does not answer, refuses, or has too few replicas in sync. 0: it does, or is not used.",
)
KAFKA_LAG = gauge("headrace_kafka_lag_records", "Records in the topic that the writers' group has not committed.")
KAFKA_REBALANCES = counter("headrace_kafka_rebalances", "Times that partitions were given to this writer, or taken from it.")
KAFKA_EXPIRED = counter(
    "headrace_kafka_records_expired", "Records that the topic's retention has deleted before they were written: they are lost."
)
KAFKA_ADOPTED = counter(
    "headrace_kafka_records_adopted",
    "Records that another program than Headrace wrote, a Collector for instance: `read`; `refused`: as a whole, a dead letter.",
    outcome=("read", "refused"),
)
SPILLED = counter(
    "headrace_spilled_requests",
    "Requests that went into the disk queue because Kafka did not take them (`HEADRACE_SPILL`): `kept`; `forwarded`: since "
    "then to Kafka.",
    stage=("kept", "forwarded"),
)
