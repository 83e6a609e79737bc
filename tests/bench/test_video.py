"""The tables of clips, and of MaMMUT beside CoCa: they can be plotted; tubes take less than frames."""

import csv
import io

import mammut_and_coca
import pytest
import video


@pytest.mark.slow
def test_the_table(capsys):
    video.main(["--frames", "16,32", "--rounds", "1"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["frames"], row["way"]) for row in rows] == [(f, way) for f in ("16", "32") for way in video.WAYS]
    tokens = {(row["frames"], row["way"]): int(row["tokens"]) for row in rows}
    memory = {(row["frames"], row["way"]): float(row["megabytes"]) for row in rows}
    assert tokens["16", "every frame"] == 16 * 36 and tokens["32", "every frame"] == 32 * 36
    for table in (tokens, memory):
        assert table["32", "tubes"] < table["32", "every frame"] / 3
    assert all(float(row["seconds"]) > 0 for row in rows)


def test_mammut_beside_coca(capsys):
    mammut_and_coca.main(rounds=1)
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    own, other = (int(rows[name]["parameters"]) for name in ("MaMMUT", "CoCa"))
    assert abs(own / other - 1) < 0.02, "of the same size"
    assert all(float(row["milliseconds"]) > 0 for row in rows.values())
