"""`python -m benchmarks.images` at a size that takes a second, and what it refuses."""

import json

import pytest

from duoreid.benchmarks.images import BATCH, main
from tests.datasets import trees


@pytest.fixture
def data(tmp_path):
    for number in range(BATCH):
        trees.image(tmp_path / f"images/{number}.jpg")
    return tmp_path / "images"


def test_every_way_is_measured(data, tmp_path, capsys):
    argv = ["--dataset", "folder", "--data", str(data), "--seconds", "0.01", "--output", str(tmp_path / "found.json")]
    assert main(argv) == 0
    printed = capsys.readouterr().out
    table = json.loads((tmp_path / "found.json").read_text())
    assert len(table["ways"]) == 7
    for way in table["ways"]:
        assert way["way"] in printed
        assert way["images"] > 0
    assert table["facts"]["images"] == BATCH


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--images", "10"], "--images must be at least 64"),
        (["--seconds", "nan"], "--seconds must be above 0"),
        (["--dataset", "market1502"], "market1501"),
        (["--dataset", "market1501"], "bounding_box_train"),
        (["--dataset", "folder"], "at least 64 are needed"),
    ],
)
def test_mistakes_are_messages(tmp_path, capsys, argv, message):
    trees.image(tmp_path / "only.jpg")
    try:
        status = main([*argv, "--data", str(tmp_path)])
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert message in capsys.readouterr().err
