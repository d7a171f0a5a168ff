"""Measurements, one file a question; none of them is a test."""
