"""The plots of the benchmarks: one command, from the JSON that is kept, with titles that follow from it."""

from __future__ import annotations

import json
import shutil

import pytest

from duoreid.benchmarks import ablation, growth, handover, plots
from duoreid.benchmarks.ablation_rows import ABLATIONS
from duoreid.benchmarks.algorithms import RESULTS

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("name", ["growth", "handover", "ablation-mmt", "ablation-mvd"])
def test_every_kept_result_is_drawn_from_its_json(name, tmp_path):
    shutil.copy(RESULTS / f"{name}.json", tmp_path)
    assert plots.main([str(tmp_path / f"{name}.json")]) == 0
    assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_without_names_those_with_a_picture_are_drawn():
    names = {path.stem for path in plots.known(RESULTS)}
    assert {"growth", "handover", "ablation-mmt", "ablation-mmt-short", "ablation-mvd", "parity-tiny-mmt"} <= names
    assert "algorithms" not in names


def test_a_picture_that_shows_more_than_the_json_holds_is_left_alone():
    assert plots.complete(RESULTS / "growth.json")
    comparison = json.loads((RESULTS / "parity-tiny-mmt.json").read_text())
    roles = {curve[1] for curve in comparison["curves"]}
    assert plots.complete(RESULTS / "parity-tiny-mmt.json") == ({"rounding", "double"} <= roles)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("speed.json", "{}", "begin with growth, handover, ablation, parity"),
        ("growth.json", "{", "cannot be read as JSON"),
        ("growth.json", "[]", "should hold results by name"),
        ("growth.json", "{}", "no result of this version"),
        ("ablation-x.json", "{}", "name it ablation-METHOD.json"),
    ],
)
def test_what_cannot_be_drawn_is_refused(name, content, text, tmp_path, capsys):
    (tmp_path / name).write_text(content)
    assert plots.main([str(tmp_path / name)]) == 2
    assert text in capsys.readouterr().err


def test_titles_follow_from_the_numbers():
    rows = [{"points": n, "search": 1e-9 * n**2, "bytes": 8 * n} for n in (100, 200, 400, 800)]
    assert growth.slope(rows, "search") == pytest.approx(2)
    assert growth.slope(rows, "bytes") == pytest.approx(1)
    curves = {"a": [1.0, 1.0], "b": [1.0, 1.2], "noise 1": [1.0, 1.1]}
    assert handover.inside(curves)
    assert not handover.inside(curves | {"b": [1.0, 1.4]})
    chosen = ABLATIONS["mmt"]
    table = {chosen.against: {"mean mAP": {}}}
    table["one"] = {"mean mAP": {"difference": -2.0, "found": True}}
    table["two"] = {"mean mAP": {"difference": -9.0, "found": False}}  # within the spread
    assert ablation.headline(chosen, table) == "mmt: most is lost by 'one', -2.0 points of mAP"
    del table["one"]
    assert "no row is below" in ablation.headline(chosen, table)
