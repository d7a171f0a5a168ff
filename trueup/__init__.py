"""The front door: the command line, the embedded Kafka and Postgres, the demo, the audit."""
