"""The queue in Kafka: records between receivers and writers on many machines.

    offer ──► records.py: a record for each trace ──► Sender (acks=all) ──► the offer's future is done
    claim ◄── envelopes ◄── Reader (consumer group), records ahead of the writer, bounded by pausing
    settle ──► Progress: up to where a partition is settled ──► the Reader commits the offset

confluent_kafka is imported when a queue is opened, and nowhere at the top of a module: it comes with `headrace[kafka]`.
"""
