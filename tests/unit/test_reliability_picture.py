"""The picture of an agent's reliability, and the sentence beside it."""

from __future__ import annotations

import io

import pytest

from trueup.reliability_picture import (
    BAR_COLUMNS,
    NOTHING_SEEN,
    OVER_CONFIDENT,
    UNDER_CONFIDENT,
    WIDTH_MAX,
    PictureBin,
    needs_ascii,
    picture,
    sentence,
    stated_and_actual,
    verdict_of,
)

EMPTY = PictureBin(0, 0, 0, 0.0, 1.0)


def ten(**by_index: PictureBin) -> list[PictureBin]:
    return [by_index.get(f"b{index}", EMPTY) for index in range(10)]


def test_a_bar_shows_what_was_said_and_what_was_right() -> None:
    bins = ten(b8=PictureBin(200, 164_000_000, 116, 0.50, 0.66))

    _, _, bar = picture("closer-bot", bins, ascii_only=False)

    cells = bar[bar.index("│") + 1 : bar.rindex("│")]
    assert len(cells) == BAR_COLUMNS
    assert cells.index("◆") == 41
    assert cells.count("█") == 25
    assert cells.rindex("▓") == 28
    assert cells.rindex("░") == 32
    assert bar.startswith("  80–90 %  │")
    assert bar.split("│")[2].split() == ["82", "%", "58", "%", "(", "50–66", ")", "200"]


def test_the_scale_stands_over_the_bars() -> None:
    bins = ten(b2=PictureBin(10, 2_000_000, 2, 0.1, 0.6))

    _, scale, bar = picture("a", bins, ascii_only=False)

    first_cell = bar.index("│") + 1
    assert bar.index("◆") == scale.index("20") == first_cell + 10
    assert scale.index("80") == first_cell + 40


def test_bins_without_records_are_left_out() -> None:
    bins = ten(b0=PictureBin(3, 100_000, 0, 0.0, 0.7), b9=PictureBin(1, 1_000_000, 1, 0.0, 1.0))

    lines = picture("a", bins, ascii_only=False)

    assert [line.split("│")[0].strip() for line in lines[2:]] == ["0–10 %", "90–100 %"]


def test_an_agent_without_settled_outcomes_is_said_to_have_none() -> None:
    assert picture("new-bot", ten(), ascii_only=False) == ["new-bot: nothing has settled yet"]
    assert sentence("new-bot", 0, 0, 0, 1, 0, NOTHING_SEEN) == "new-bot: nothing has settled yet"


@pytest.mark.parametrize("ascii_only", [True, False])
def test_no_line_is_wider_than_the_limit(ascii_only: bool) -> None:
    full = PictureBin(12_345_678, 12_345_678_000_000, 12_345_678, 1.0, 1.0)
    none = PictureBin(12_345_678, 0, 0, 0.0, 0.0)

    lines = picture("ä" * 200, [none] * 5 + [full] * 5, ascii_only)

    assert max(map(len, lines)) <= WIDTH_MAX
    assert len(lines) == 12


def test_an_ascii_picture_goes_through_an_ascii_stream() -> None:
    bins = ten(b8=PictureBin(200, 164_000_000, 116, 0.50, 0.66))

    text = "\n".join(picture("bot-ü", bins, ascii_only=True))
    text += sentence("bot", 0.82, 0.58, 0.5, 0.66, 200, OVER_CONFIDENT, ascii_only=True)

    assert text.isascii()
    assert set("#=-O") <= set(text)


@pytest.mark.parametrize(
    ("encoding", "is_needed"),
    [("ascii", True), ("latin-1", True), ("cp1252", True), ("utf-8", False)],
)
def test_ascii_is_needed_where_the_encoding_has_no_blocks(encoding: str, is_needed: bool) -> None:
    assert needs_ascii(io.TextIOWrapper(io.BytesIO(), encoding=encoding)) is is_needed


def test_the_sentence_says_it_as_the_readme_does() -> None:
    said = sentence("closer-bot", 0.82, 0.58, 0.54, 0.62, 1204, OVER_CONFIDENT)

    assert said == "closer-bot says 82 %, is right 58 % (54–62), 1,204 settled: over-confident"


@pytest.mark.parametrize(
    ("stated", "verdict"),
    [
        (0.63, OVER_CONFIDENT),
        (0.53, UNDER_CONFIDENT),
        (0.54, NOTHING_SEEN),
        (0.58, NOTHING_SEEN),
        (0.62, NOTHING_SEEN),
    ],
)
def test_the_verdict_is_where_the_stated_mean_lies(stated: float, verdict: str) -> None:
    assert verdict_of(stated, 0.54, 0.62) == verdict


def test_no_verdict_ever_says_calibrated() -> None:
    assert "calibrated" not in (OVER_CONFIDENT, UNDER_CONFIDENT, NOTHING_SEEN)


def test_the_pooled_figures_are_those_of_all_bins() -> None:
    bins = ten(b2=PictureBin(1, 200_000, 1, 0, 1), b6=PictureBin(3, 1_800_000, 1, 0, 1))

    assert stated_and_actual(bins) == (0.5, 0.5, 4)
    assert stated_and_actual(ten()) == (0.0, 0.0, 0)
