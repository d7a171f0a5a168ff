"""Postgres: the schema, its migrations and the exactly-once writer."""
