"""`trueup try`: a file's figures against other codes, and what it says of files that are not so."""

import csv
import gzip
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from typer.testing import CliRunner

from tables.calibration_map import IDENTITY
from tables.debiased_error import debiased_error
from tables.evidence import Evidence
from tables.evidence_increments import increments
from tables.smooth_error import ResidualGrid, smooth_error
from tests.hunt import examples
from tests.real_data import GOLDEN, games, real, ten_bins
from trueup.cli import command_line
from trueup.examination import CHUNK_ROWS
from trueup.labelled_rows import LINE_BYTES_MAX, read_table
from trueup.try_file import Asked, answer, tally, to_json

ASKED = Asked("p", "y")
OUTCOMES = ("1", "0", "true", "False", "positive", "expired", "ambiguous", "0.5", "", "pending")
COUNTS_AS = {"1": 1, "true": 1, "positive": 1, "0": 0, "False": 0, "expired": 0}

TRY = command_line(["try"])


def tried(text, asked=ASKED):
    return tally(read_table(io.BytesIO(text.encode())), asked)


def as_csv(rows):
    return "id,p,y\n" + "".join(f"{i},{p},{y}\n" for i, (p, y) in enumerate(rows))


@pytest.fixture
def said(tmp_path):
    """What the command says of a file with this content, in lines, and its exit code."""

    def run(content, asked=ASKED):
        path = tmp_path / "my.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        found = answer(str(path), asked, as_json=False, ascii_only=False)
        return "\n".join(found.lines), "\n".join(found.problems), found.code

    return run


# --- the figures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN)
def test_a_real_file_gives_the_golden_numbers_and_those_of_other_codes(name):
    count, ambiguous, brier, ece = GOLDEN[name]
    path = real(name)
    with path.open() as lines:
        rows = [(float(r["prob1"]), float(r["prob1_outcome"])) for r in csv.DictReader(lines)]
    p, y = np.array([row for row in rows if row[1] in (0, 1)]).T
    index = np.minimum((p * 10).astype(int), 9)
    rates, means = calibration_curve(y, p, n_bins=10)
    sizes = np.bincount(index, minlength=10)[np.unique(index)]
    command = ["try", str(path), "--confidence", "prob1", "--outcome", "prob1_outcome"]

    text = CliRunner().invoke(TRY, [*command, "--time", "date"])
    found = json.loads(CliRunner().invoke(TRY, [*command, "--json"]).stdout)

    assert (found["n"], found["statuses"]["ambiguous"]) == (count, ambiguous)
    assert found["brier"] == pytest.approx(brier_score_loss(y, p), abs=1e-6)
    assert found["ece"] == pytest.approx(np.dot(sizes, abs(rates - means)) / len(p), abs=1e-6)
    assert [round(found["brier"], 4), round(found["ece"], 4)] == [round(brier, 4), round(ece, 4)]
    assert text.exit_code == 0
    assert f"Brier {brier:.4f}, ECE {ece:.4f}, n {count:,}" in text.stdout
    assert f"{count:,} settled: " in text.stdout


@settings(max_examples=examples(40))
@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(OUTCOMES)), min_size=1))
def test_csv_and_ndjson_give_the_figures_of_the_whole_data(rows):
    ndjson = "".join(json.dumps({"p": p / 1e6, "y": y}) + "\n" for p, y in rows)
    counted = [(p / 1e6, COUNTS_AS[y]) for p, y in rows if y in COUNTS_AS]

    from_csv = to_json(tried(as_csv((p / 1e6, y) for p, y in rows)))
    from_ndjson = to_json(tried(ndjson))

    assert from_csv == from_ndjson
    assert from_csv["n"] == len(counted)
    assert sum(from_csv["statuses"].values()) == len(rows)
    if counted:
        squares = np.array([(p - y) ** 2 for p, y in counted])
        assert from_csv["brier"] == pytest.approx(squares.mean(), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "word", "direction", "alarm_n"),
    [
        ("nfl_games.csv", "calibrated", {"on_average": "over-confident", "shape": None}, None),
        (
            "nhl_games.csv",
            "miscalibrated",
            {"on_average": "over-confident", "shape": "too timid"},
            785,
        ),
    ],
)
def test_a_real_file_gets_its_verdict_with_what_it_rests_on(name, word, direction, alarm_n):
    pairs = games(name)
    bins, grid = ten_bins(pairs), ResidualGrid()
    for p, y in pairs:
        grid.update(p, y)
    command = ["try", str(real(name)), "--confidence", "prob1", "--outcome", "prob1_outcome"]

    text = CliRunner().invoke(TRY, [*command, "--time", "date"]).stdout
    found = json.loads(CliRunner().invoke(TRY, [*command, "--time", "date", "--json"]).stdout)

    error = debiased_error(bins)
    assert found["calibration"]["verdict"] == word
    assert found["calibration"]["is_calibrated"] == (word == "calibrated")
    assert found["ece2"]["value"] == error.root
    assert (found["ece2"]["low"], found["ece2"]["high"]) == (error.low, error.high)
    assert found["smooth_ece"] == smooth_error(grid)
    assert found["direction"] == direction
    assert found["evidence"]["alarm_n"] == alarm_n
    assert f"settled: {word}" in text
    assert f"verdict: {word}" in text
    assert f"ECE₂ {error.root:.4f} ({error.low:.4f}–{error.high:.4f}), smooth ECE 0.0" in text
    assert f"after {len(pairs):,} settled actions" in text
    assert ("too timid)" in text) == (word == "miscalibrated")


def by_hand(rows):
    """The evidence of rows, one after the other."""
    evidence = Evidence()
    for p, y in rows:
        evidence.update(increments(round(p * 1e6), IDENTITY), y)
    return evidence.log_nanos() / 1e9


def test_evidence_is_in_the_order_of_times_where_they_are_named_else_of_the_file(said):
    times = [f"2026-01-{1 + n % 28:02}T00:{n // 28:02}:00Z" for n in range(600)]
    rows = [(0.55 + n % 40 / 100, int(n % 3 > 0 or n > 400)) for n in range(600)]
    text = "p,y,at\n" + "".join(f"{p},{y},{at}\n" for (p, y), at in zip(rows, times, strict=True))
    in_order = [row for _, row in sorted(zip(times, rows, strict=True), key=lambda pair: pair[0])]

    timed = to_json(tried(text, Asked("p", "y", "at")))
    untimed = to_json(tried(text))

    assert timed["evidence"]["ln_e"] == pytest.approx(by_hand(in_order), abs=1e-12)
    assert untimed["evidence"]["ln_e"] == pytest.approx(by_hand(rows), abs=1e-12)
    assert timed["evidence"]["ln_e"] != untimed["evidence"]["ln_e"]
    assert timed["smooth_ece"] == untimed["smooth_ece"]


def test_a_file_longer_than_a_chunk_says_what_its_rows_say():
    rows = [(0.5 + n % 7 / 20, int(n % 5 > 1)) for n in range(2 * CHUNK_ROWS + 3)]

    found = to_json(tried(as_csv(rows)))

    assert found["evidence"]["n"] == len(rows)
    assert found["evidence"]["ln_e"] == pytest.approx(by_hand(rows), abs=1e-12)


def test_words_are_ascii_where_asked_and_no_small_error_is_shown_as_exact(tmp_path):
    path = tmp_path / "my.csv"
    path.write_text(as_csv([(0.5, 1), (0.5, 0)] * 300))

    text = "\n".join(answer(str(path), ASKED, as_json=False, ascii_only=True).lines)

    assert text.isascii()
    assert "ECE2 0.0000 (0.0000-" in text
    assert "smooth ECE < 0.005" in text
    assert "no alarm (1 : 20)" in text


def test_the_sentence_is_the_demos_and_the_interval_is_in_words(said):
    rows = [(0.83, 1)] * 664 + [(0.83, 0)] * 428

    lines, problems, code = said(as_csv(rows))

    assert "my.csv says 83 %, is right 61 % (55–66), 1,092 settled: over-confident" in lines
    assert "its true rate lies between 55.3 and 66.1 %" in lines
    assert "80–90 %" in lines.splitlines()[2]
    assert (problems, code) == ("", 0)


def test_what_does_not_count_is_counted(said):
    rows = [(0.8, 1), (0.8, 0.5), (0.8, "ambiguous"), (0.8, ""), (0.8, "expired")]

    lines, _, code = said(as_csv(rows))

    assert "2 settled" in lines
    assert "2 ambiguous, left out" in lines
    assert "1 without an outcome yet" in lines
    assert "1 expired, counted as 0" in lines
    assert code == 0


def test_json_values_may_have_types_and_a_missing_outcome_is_open():
    rows = [{"p": 0.5, "y": True}, {"p": 1, "y": 0}, {"p": "0.5", "y": None}, {"p": 0.5}]

    found = to_json(tried("\n".join(map(json.dumps, rows))))

    statuses = {name: count for name, count in found["statuses"].items() if count}
    assert statuses == {"positive": 1, "negative": 1, "pending": 2}


def test_times_give_the_span_whatever_their_order():
    rows = "p,y,at\n.5,1,2026-02-01\n.5,0,2026-01-05T00:00:00+02:00\n.5,0,1767571200\n"

    found = to_json(tried(rows, Asked("p", "y", "at")))

    assert found["first_at"] == "2026-01-04T22:00:00+00:00"
    assert found["last_at"] == "2026-02-01T00:00:00+00:00"
    assert found["bad"] == [
        "line 4: at: '1767571200' is no day or time like 2026-01-05 or 2026-01-05T09:30:00Z"
    ]


def test_any_usual_csv_can_be_read():
    plain = to_json(tried("p,y,note\n0.25,1,a\n0.75,0,b\n"))

    semicolons = to_json(tried("p;y;note\r\n0.25;1;a\r\n0.75;0;b\r\n"))
    tabs = to_json(tried("p\ty\tnote\n0.25\t1\ta\n0.75\t0\tb"))
    marked_quoted_blank = to_json(
        tried('\ufeff"p", "y", "note"\n0.25, 1, "a,\nb"\n\n 0.75 , 0 ,"""b"""\n')
    )

    assert plain["n"] == 2
    assert plain == semicolons == tabs == marked_quoted_blank


# --- bad rows ------------------------------------------------------------------------------------


def test_bad_rows_are_left_out_and_named_with_line_and_reason(said):
    text = 'p,y,note\n0.9,1,"two\nlines"\nabc,1,\n0.9,won,\n,1,\n0.9,1\n1.5,1,\nnan,1,\n-0.1,1,\n'

    lines, problems, code = said(text + "0.9,0,\n")

    assert "2 settled" in lines
    assert [line.partition(": ")[0] for line in problems.splitlines()[:7]] == [
        f"line {number}" for number in (4, 5, 6, 7, 8, 9, 10)
    ]
    assert "line 5: y: 'won' is none of 1, 0, true, false, pending, positive" in problems
    assert "line 7: has 2 cells where the header has 3" in problems
    assert "7 of 9 rows are bad and were left out." in problems
    assert code == 0


def test_lines_that_are_not_json_are_bad_rows():
    found = tried('{"p": 0.5, "y": 1}\n{"p": 0.5,\n[1]\n\n{"p": [0.5], "y": 1}\n')

    assert found.n == 1
    assert [line[:22] for line in found.named] == [
        "line 2: is not JSON: E", "line 3: is not a JSON ", "line 5: p: [0.5] is no",
    ]  # fmt: skip


def test_of_many_bad_rows_the_first_are_named(said):
    _, problems, code = said(as_csv([("x", 1)] * 500 + [(0.5, 1)]))

    assert "line 21: " in problems
    assert "line 22: " not in problems
    assert "and 480 more" in problems
    assert "500 of 501 rows are bad" in problems
    assert code == 0


def test_nothing_usable_is_said_with_exit_4(said):
    lines, problems, code = said(as_csv([("x", 1), (0.5, ""), (0.5, 0.5)]))

    assert lines == ""
    assert "none of 3 rows is usable (1 pending, 1 ambiguous)" in problems
    assert code == 4


@pytest.mark.parametrize("confidences", [("82%", "61%", "1%"), (82, 61, 1)])
def test_percent_is_refused_and_never_guessed(said, confidences):
    lines, problems, code = said(as_csv((p, 1) for p in confidences))

    assert lines == ""
    assert "0.82" in problems
    assert "divide the column by 100" in problems
    assert code == 4


def test_a_few_confidences_in_percent_are_bad_rows_with_a_warning(said):
    lines, problems, code = said(as_csv([("82%", 1), (0.8, 1), (0.7, 0)]))

    assert "2 settled" in lines
    assert "Confidences that look like percent: 1." in problems
    assert code == 0


# --- what cannot be read at all ------------------------------------------------------------------


def test_a_column_that_is_not_there_is_answered_with_those_that_are(said):
    _, problems, code = said("prob,result\n0.5,1\n", Asked("p", "result"))
    _, of_json, code_of_json = said('{"prob": 0.5, "result": 1}\n', Asked("prob", "y"))

    assert "has no column 'p'. Its columns are: prob, result." in problems
    assert "--confidence COLUMN --outcome COLUMN" in problems
    assert "has no column 'y'. Its columns are: prob, result." in of_json
    assert code == code_of_json == 2


def test_without_columns_some_are_suggested_and_none_is_taken(said):
    text = "n,said,came true,day\n7,0.5,1,2026-01-05\n8,0.75,0,2026-01-06\n"

    lines, problems, code = said(text, Asked(None, None))

    assert lines == ""
    assert "Its columns are: n, said, came true, day." in problems
    assert "--confidence said --outcome 'came true' --time day" in problems
    assert code == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (gzip.compress(b"p,y\n"), "gunzip -c"),
        ("p,y\n0.5,1\n".encode("utf-16"), "save it as UTF-8"),
        (b"PAR1\0\0\x15\n", "is no text"),
        (b'[{"p": 0.5, "y": 1}]', "one object a line"),
        (b"p,p\n0.5,1\n", "two columns 'p'"),
        (b"p,y\n0.5," + b"1" * LINE_BYTES_MAX, "a line of more than 16 MB, line 2"),
    ],
    ids=("empty", "blank", "gzip", "utf-16", "parquet", "array", "twice", "long"),
)
def test_what_is_no_table_is_said_in_one_sentence_with_exit_4(said, content, reason):
    lines, problems, code = said(content)

    assert lines == ""
    assert reason in problems
    assert len(problems.splitlines()) == 1
    assert code == 4


def test_a_name_in_another_encoding_is_no_reason_to_refuse():
    found = tally(read_table(io.BytesIO("p,y,wer\n0.5,1,Jürgen\n".encode("latin-1"))), ASKED)

    assert (found.n, found.bad_count) == (1, 0)


def test_a_file_that_is_not_there_and_standard_input():
    asked = ["--confidence", "p", "--outcome", "y"]

    gone = CliRunner().invoke(TRY, ["try", "no-such-file.csv", *asked])
    piped = CliRunner().invoke(TRY, ["try", "-", *asked], input="p,y\n0.5,1\n")

    assert gone.exit_code == 2
    assert "no-such-file.csv: No such file" in gone.stderr
    assert piped.exit_code == 0
    assert "standard input says 50 %" in piped.stdout


def test_memory_does_not_grow_with_the_file():
    class Endless(io.RawIOBase):
        """A file of many rows that is nowhere whole; remembers how far ahead it was read."""

        def __init__(self):
            self.given = 0

        def readline(self, size=-1):
            self.given += 1
            return b"p,y\n" if self.given == 1 else b"0.5,1\n"

    source = Endless()
    table = read_table(source)

    for _ in range(1000):
        next(table.rows)

    assert source.given <= 1002


def test_neither_kafka_nor_postgres_is_loaded():
    code = "import sys, trueup.try_file; print(*{m.partition('.')[0] for m in sys.modules})"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not set(done.stdout.split()) & {
        "streams", "sinks", "faust", "mode", "aiokafka", "sqlalchemy", "asyncpg",
    }  # fmt: skip
