"""The examples' events, made of a few rows, as `trueup check` would judge them."""

import json

from agents_topics.events import to_ms
from agents_topics.identifiers import tenant_id_of
from agents_topics.policy_file import load_policy
from examples.classifiers import events_of
from examples.forecasts import games, main, markets
from examples.settling import POLICY, finish
from tests.real_data import real
from trueup.check import check_lines

GAME = {"date": "2022-01-30", "team1": "Rams", "team2": "49ers", "prob1": "0.636"}
QUESTION = {
    "source": "manifold", "question_id": "q1", "forecast_probability": "0.98",
    "resolution_date": "2026-01-01",
}  # fmt: skip


def made():
    outcomes = ("1", "0", "0.5")
    games_of_days = [GAME | {"date": f"2022-01-3{n}", "prob1_outcome": outcomes[n]} for n in (0, 1)]
    tie = GAME | {"team1": "Bills", "prob1_outcome": "0.5"}
    rounds = [
        QUESTION | {"round": at, "forecast_at": f"{at}T00:00:00+00:00", "is_resolved": "true"}
        for at in ("2025-10-26", "2025-11-09")
    ]
    open_one = rounds[0] | {"question_id": "q2", "is_resolved": "false", "resolved_to": "0.29"}
    return [
        *events_of("naive-bayes", [0.5, 1.0], [True, False]),
        *markets([*(row | {"resolved_to": "1.0"} for row in rounds), open_one]),
        *games([*games_of_days, tie], "nfl"),
    ]


def test_events_keep_the_contract_and_come_in_the_order_of_time(capsys):
    finish(made(), [], print_only=True)

    lines = capsys.readouterr().out.splitlines()
    times = [to_ms(json.loads(line)["occurred_at"]) for line in lines]
    assert len(lines) == len(made())
    assert not list(check_lines((line.encode() for line in lines), policy=load_policy(POLICY)))
    assert times == sorted(times)


def test_a_result_is_an_interaction_of_its_forecasts_conversation():
    events = made()

    said = {
        (e["tenant_id"], e["conversation_id"]): [
            other["kind"] for other in events
            if "kind" in other and other["conversation_id"] == e["conversation_id"]
        ]
        for e in events
    }  # fmt: skip

    assert said == {
        (tenant_id_of("naive-bayes"), "image-0000"): ["label_was_right"],
        (tenant_id_of("naive-bayes"), "image-0001"): ["label_was_wrong"],
        (tenant_id_of("manifold"), "q1"): ["resolved_yes"],
        (tenant_id_of("manifold"), "q2"): [],
        (tenant_id_of("nfl"), "2022-01-30 Rams-49ers"): ["won"],
        (tenant_id_of("nfl"), "2022-01-31 Rams-49ers"): ["lost"],
        (tenant_id_of("nfl"), "2022-01-30 Bills-49ers"): ["tied"],
    }


def test_a_real_file_is_printed_as_events(capsys):
    main(["--print", str(real("nfl_games.csv"))])

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * 1_889
    assert not list(check_lines((line.encode() for line in lines), policy=load_policy(POLICY)))
