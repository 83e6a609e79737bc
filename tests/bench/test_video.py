"""The table of time and memory against frames: it can be plotted, and tubes grow slower than frames."""

import csv
import io

import video


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
