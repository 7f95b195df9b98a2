"""`duoreid embed` and `duoreid search`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from duoreid.core.commands import embed, search
from duoreid.core.serving.opening import is_onnx
from tests.serving.conftest import Limit, picture, plain_model

ROOT = Path(__file__).parents[2]


class Loaded:
    """`duoreid.load` for models that need no framework; notes what it was asked for."""

    def __init__(self):
        self.model, self.asked = plain_model(), {}

    def __call__(self, source, **options):
        self.asked = {"source": source, **options}
        return self.model


@pytest.fixture
def load() -> Loaded:
    return Loaded()


def run(command, load, *words) -> int:
    return command.main(load, [str(word) for word in words])


def test_embed_writes_features_and_names(load, cameras, tmp_path, capsys):
    (cameras / "c0" / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    output = tmp_path / "features.npz"
    assert run(embed, load, "run", cameras, "--output", output, "--pattern", r"(?P<camera>c\d)/(?P<identity>\w+)") == 0
    printed = capsys.readouterr()
    assert "12 pictures" in printed.out
    assert "broken.jpg" in printed.err
    arrays = np.load(output)
    assert arrays["files"].tolist() == sorted(map(str, cameras.rglob("*.png")))
    assert arrays["cameras"].tolist() == ["c0"] * 6 + ["c1"] * 6
    np.testing.assert_array_equal(arrays["features"], load.model.embed(arrays["files"]))
    assert str(arrays["digest"]) == load.model.digest
    assert run(embed, load, "net.onnx", cameras, "--output", output, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["images"] == 12
    assert len(facts["broken"]) == 1
    assert load.asked["backend"] == "onnx"
    assert is_onnx("net.ONNX")


def test_embed_of_nothing(load, tmp_path, capsys):
    (tmp_path / "bad.jpg").touch()
    assert run(embed, load, "run", tmp_path, "--output", tmp_path / "x.npz") == 2
    assert "none of 1 pictures can be decoded" in capsys.readouterr().err
    assert run(embed, load, "run", tmp_path, "--output", tmp_path / "x.csv") == 2
    assert "must end in .npz" in capsys.readouterr().err
    assert run(embed, load, "run", tmp_path, "--output", tmp_path / "x.npz", "--batch", 0) == 2
    assert "--batch" in capsys.readouterr().err


def test_search_of_a_folder_of_pictures(load, cameras, capsys):
    query = cameras / "c0" / "2.png"
    words = ["run", "--query", query, "--gallery", cameras, "--pattern", r"(?P<camera>c\d)?/?(?P<identity>\d+)"]
    assert run(search, load, *words, "--k", 3) == 0
    printed = capsys.readouterr()
    assert "12 images added" in printed.err
    lines = printed.out.splitlines()
    assert re.search(r"1 +1\.0000 .*c0/2\.png \(the query itself\)", printed.out)
    assert re.search(r"2 +0\.99\d\d .*c1/2\.png", printed.out)
    assert "duoreid calibrate" in lines[-1]
    assert run(search, load, *words, "--json", "--not-camera", "c0") == 0
    printed = capsys.readouterr()
    assert "0 images added, 12 were there" in printed.err
    (result,) = json.loads(printed.out)["results"]
    assert result["hits"][0]["file"] == str(cameras / "c1" / "2.png")
    assert result["identity"] == "2"
    assert result["nobody"] is None
    assert [path.name for path in (cameras / ".duoreid").iterdir()] == [load.model.digest[:12]]


def test_search_says_nobody(load, cameras, tmp_path, capsys):
    load.model.threshold = Limit()
    stranger = picture(tmp_path / "stranger.png", 99)
    words = ["run", "--query", stranger, cameras / "c0" / "1.png", "--gallery", tmp_path / "kept", "--add", cameras]
    assert run(search, load, *words) == 0
    assert capsys.readouterr().out.count("nobody: no image reaches the threshold") == 1
    assert run(search, load, *words, "--json") == 0
    answers = json.loads(capsys.readouterr().out)["results"]
    assert [result["nobody"] for result in answers] == [True, False]


def test_search_writes_a_page_that_needs_nothing_else(load, cameras, tmp_path, capsys):
    load.model.threshold = Limit()
    page = tmp_path / "out" / "ranked.html"
    words = ["--gallery", tmp_path / "kept", "--add", cameras, "--pattern", r"(?P<identity>\d+)\.png", "--html", page]
    assert run(search, load, "run", "--query", cameras / "c0" / "1.png", *words, "--k", 4) == 0
    assert str(page) in capsys.readouterr().out
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 5
    assert text.count("✓ right") == 2
    assert text.count("✗ wrong") == 2
    assert text.count('class="wrong refused"') == 2
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)
    assert "<script" not in text
    assert "the query itself" in text
    (cameras / "c1" / "1.png").unlink()
    assert (
        run(search, load, "run", "--query", cameras / "c0" / "1.png", "--gallery", tmp_path / "kept", "--html", page)
        == 0
    )
    assert "no longer on the disk" in page.read_text()


def test_search_by_an_approximate_index(load, tmp_path, capsys):
    for person in range(110):
        picture(tmp_path / "many" / f"{person:03d}.png", person)
    words = ["run", "--query", tmp_path / "many" / "007.png", "--gallery", tmp_path / "many", "--approximate"]
    assert run(search, load, *words) == 0
    printed = capsys.readouterr()
    assert "the approximate index is built" in printed.err
    assert "007.png (the query itself)" in printed.out
    assert run(search, load, *words) == 0
    assert "is built" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--gallery", "absent"], "is no folder"),
        (["--gallery", "cameras", "--k", "13"], "k is 13"),
        (["--gallery", "cameras", "--only-accepted"], "has no threshold"),
        (["--gallery", "cameras", "--html", "x.pdf"], "must end in .html"),
        (["--gallery", "cameras", "--time-from", "noon"], "is no time"),
        (["--gallery", "cameras", "--camera", "c7"], "passes the filters"),
    ],
)
def test_search_refuses(load, cameras, tmp_path, monkeypatch, capsys, words, text):
    monkeypatch.chdir(tmp_path)
    assert run(search, load, "run", "--query", "cameras/c0/1.png", *words) == 2
    assert text in capsys.readouterr().err
    if "--only-accepted" in words:
        assert not (tmp_path / "cameras" / ".duoreid").exists(), "refused before any picture is embedded"
