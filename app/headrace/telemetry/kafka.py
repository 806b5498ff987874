"""The metrics of the queue in Kafka."""

from headrace.telemetry.families import counter, gauge

KAFKA_RECORDS = counter(
    "headrace_kafka_records",
    "Records sent to Kafka. `acknowledged`: all replicas in sync have them. `failed`: Kafka did not acknowledge them in time, "
    "and the client was told.",
    outcome=("acknowledged", "failed"),
)
KAFKA_AWAY = gauge(
    "headrace_kafka_away",
    "1 while Kafka takes no records: it does not answer, refuses, or has too few replicas in sync. 0 while Kafka takes "
    "records, or is not used.",
)
KAFKA_LAG = gauge(
    "headrace_kafka_lag_records",
    "Records in the topic that the writers have not written yet: their consumer group has not committed them.",
)
KAFKA_REBALANCES = counter("headrace_kafka_rebalances", "Times that partitions were given to this writer, or taken from it.")
KAFKA_EXPIRED = counter(
    "headrace_kafka_records_expired", "Records that the topic's retention has deleted before they were written: they are lost."
)
KAFKA_ADOPTED = counter(
    "headrace_kafka_records_adopted",
    "Records in the topic that another program than Headrace wrote, a Collector for instance. `read`: they were read. "
    "`refused`: they could not be read, and each is kept as one dead letter.",
    outcome=("read", "refused"),
)
SPILLED = counter(
    "headrace_spilled_requests",
    "Requests that Kafka did not take (`HEADRACE_SPILL`). `kept`: they went into the queue on disk. `forwarded`: they went "
    "from there to Kafka later.",
    stage=("kept", "forwarded"),
)
