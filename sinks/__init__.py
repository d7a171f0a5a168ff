"""The way out: writes aggregates where people read them. Knows events, not tables, not Faust."""
