"""Prometheus: the metrics operators see, collected on scrape."""
