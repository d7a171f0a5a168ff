"""What rows and records are to the writer."""

from typing import Any

Row = tuple[Any, ...]
"""Values in the order of a table's columns."""
Record = tuple[int, bytes]
"""An offset and a value."""
Version = tuple[int, int, int]
"""Lineage, output partition, output offset: the last columns of what is written."""

STREAM_COLUMNS = ("tenant_id", "action_type", "outcome_type", "window_ms", "confidence_source")
VERSION_COLUMNS = ("lineage", "output_partition", "output_offset")
