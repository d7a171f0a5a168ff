"""The contract: everything that crosses Kafka, as data. No Kafka client, no clock, no I/O."""
