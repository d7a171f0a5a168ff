"""What Python says of a day that its month does not have; 3.14 words it anew."""

from datetime import date


def no_such_day(year: int, month: int, day: int) -> str:
    """Its words, whole."""
    try:
        date(year, month, day)
    except ValueError as problem:
        return str(problem)
    raise AssertionError(f"{year}-{month}-{day} is a day")
