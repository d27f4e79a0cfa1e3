"""`ganglion export drift`: the ways of merging, measured side by side."""

import json

import pytest

from ganglion.core.cli import main
from ganglion.core.manifest import ParityRow
from ganglion.export.drift import recommendation

pytestmark = pytest.mark.slow


def test_the_exact_merge_computes_as_trained_and_the_others_do_not(trained, rows, tmp_path, capsys):
    report = tmp_path / "drift.json"
    options = ["--data", str(rows), "--data_limit", "2", "--parity_samples", "2", "--report", str(report)]
    assert main(["export", "drift", str(trained[0]), *options]) == 0
    found = json.loads(report.read_text())
    agreement = {row["stage"]: row["metrics"]["argmax_agreement"] for row in found["rows"]}
    assert list(agreement) == ["merged exact", "merged original", "merged in 4 bits"]
    assert agreement["merged exact"] == 1 > max(agreement["merged original"], agreement["merged in 4 bits"])
    assert all(row["against"] == "trained" and "exact_match_change" in row["metrics"] for row in found["rows"])
    assert found["recommendation"].startswith("--merge exact (100.0% of tokens as trained)")
    assert found["recommendation"] in capsys.readouterr().out


def row(agreement, **metrics):
    return ParityRow("vlm", "merged", "trained", 1, 0.0, {"argmax_agreement": agreement, **metrics})


def test_the_original_base_is_recommended_where_the_task_loses_nothing_by_it():
    assert "--merge original is as good" in recommendation([row(1), row(0.995, f1=0.9, f1_change=-0.005)])
    assert recommendation([row(1), row(0.995, f1=0.9, f1_change=-0.02)]).startswith("--merge exact (")
    assert "give --data" in recommendation([row(1), row(0.995)])
    assert recommendation([row(1), row(0.9)]).startswith("--merge exact (")
