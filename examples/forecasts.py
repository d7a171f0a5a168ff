"""Forecasts and what came true, from rows of a CSV file to events: a forecast is an action, its
result an interaction of the same conversation.

    python -m examples.forecasts nfl_games.csv forecastbench_markets.csv
    python -m examples.forecasts --print nfl_games.csv > nfl.ndjson
"""

import argparse
import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from agents_topics.identifiers import tenant_id_of
from examples.settling import Event, finish

Row = dict[str, str]
GAME_RESULTS = {1.0: "won", 0.0: "lost", 0.5: "tied"}
RESOLUTIONS = {1.0: "resolved_yes", 0.0: "resolved_no"}


def games(rows: Iterable[Row], tenant: str) -> Iterator[Event]:
    """A game is a conversation: the forecast at noon of its day, its result in the evening."""
    for row in rows:
        game = f"{row['date']} {row['team1']}-{row['team2']}"
        about = {"tenant_id": tenant_id_of(tenant), "conversation_id": game}
        yield {
            **about,
            "event_id": f"{game} forecast",
            "action_type": "forecast_game",
            "predicted_confidence": float(row["prob1"]),
            "occurred_at": f"{row['date']}T12:00:00Z",
        }
        yield {
            **about,
            "event_id": f"{game} result",
            "kind": GAME_RESULTS[float(row["prob1_outcome"])],
            "occurred_at": f"{row['date']}T20:00:00Z",
        }


def markets(rows: Iterable[Row]) -> Iterator[Event]:
    """A question is a conversation, its source the tenant; it may be forecast again and again.

    What is not resolved has no interaction: the market's last price is no outcome.
    """
    seen = set()
    for row in rows:
        question = row["question_id"]
        about = {"tenant_id": tenant_id_of(row["source"]), "conversation_id": question}
        yield {
            **about,
            "event_id": f"{question} {row['round']}",
            "action_type": "forecast_market",
            "predicted_confidence": float(row["forecast_probability"]),
            "occurred_at": row["forecast_at"],
        }
        if row["is_resolved"] == "true" and (row["source"], question) not in seen:
            seen.add((row["source"], question))
            yield {
                **about,
                "event_id": f"{question} resolved",
                "kind": RESOLUTIONS.get(float(row["resolved_to"]), "resolved_between"),
                "occurred_at": f"{row['resolution_date']}T00:00:00Z",
            }


def events_of(path: Path) -> tuple[list[Event], list[str]]:
    """The events of a file and its tenants' names, whichever of the two kinds it is."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    if rows and "forecast_probability" in rows[0]:
        return list(markets(rows)), sorted({row["source"] for row in rows})
    return list(games(rows, path.stem)), [path.stem]


def main(words: Sequence[str] | None = None) -> None:
    """Settles the files' events and shows what came of them, or only prints the events."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--print", action="store_true", help="print the events, send nothing")
    asked = parser.parse_args(words)
    events, names = [], []
    for path in asked.files:
        found, tenants = events_of(path)
        events += found
        names += tenants
    finish(events, names, print_only=asked.print)


if __name__ == "__main__":
    main()
