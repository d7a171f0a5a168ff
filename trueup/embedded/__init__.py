"""Real Kafka and real Postgres on this machine, from package clients alone."""
