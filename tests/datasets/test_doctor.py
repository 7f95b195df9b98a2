"""Everything that can be wrong with a copy is found, named, and decides the exit status."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from duoreid.datasets import counts, opening
from duoreid.datasets.cache import load_images
from duoreid.datasets.doctor import FIT, UNCHECKED, UNFIT, examine, main
from tests.datasets import trees
from tests.runs import bound_by_modes


def problems_of(diagnosis, check):
    return [problem for problem in diagnosis.problems if problem.check == check]


def healthy(root):
    """A tree in Market-1501's layout under a name without published counts."""
    return trees.market(root / "synthetic-a")


def doctor(root, name="synthetic-a"):
    return examine(name, root, progress=False)


@pytest.mark.parametrize("name", ["synthetic-a", "synthetic-sysu", "folder"])
def test_a_whole_copy_is_fit(tmp_path, name, capsys):
    trees.TREES[name](tmp_path)
    assert main([name, str(tmp_path)]) == FIT
    assert "Verdict: fit" in capsys.readouterr().out


def test_published_counts_are_compared(tmp_path, capsys):
    trees.market(tmp_path)
    assert main(["market1501", str(tmp_path)]) == UNFIT
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.strip().startswith("training images"))
    assert line.split() == ["training", "images", "12,936", "6", "DIFFERS"]
    assert "ICCV 2015" in out
    assert "Verdict: NOT FIT" in out


def test_agreeing_counts_are_no_problem(tmp_path, monkeypatch):
    trees.market(tmp_path)
    data = opening.open_dataset("market1501", tmp_path)
    monkeypatch.setitem(counts.PUBLISHED, "market1501", counts.Published("here", counts.count(data)))
    diagnosis = doctor(tmp_path, "market1501")
    assert diagnosis.fit
    assert all(row["agrees"] for row in diagnosis.counts)
    assert counts.count(data)["gallery images"] == 5


def test_every_real_dataset_has_published_counts():
    assert set(counts.PUBLISHED) == {name for name in opening.NAMES if "synthetic" not in name} - {"folder"}


def test_broken_images_are_found(tmp_path):
    root = healthy(tmp_path)
    files = sorted((root / "bounding_box_train").iterdir())
    files[0].write_bytes(b"")
    files[1].write_bytes(files[1].read_bytes()[:-30])
    files[2].write_bytes(b"not an image at all")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(files[3], format="PNG")
    diagnosis = doctor(tmp_path)
    (problem,) = problems_of(diagnosis, "unreadable")
    assert len(problem.examples) == 4
    for file, why in zip(files, ("0 bytes", "truncated", "identified", "8 bits"), strict=False):
        assert any(str(file) in line and why in line for line in problem.examples)
    assert not diagnosis.fit


def test_modes_are_remarked_on(tmp_path):
    root = healthy(tmp_path)
    trees.image(root / "query/0001_c3s1_000200_00.jpg", mode="L")
    trees.image(root / "query/0001_c3s1_000201_00.jpg", mode="CMYK")
    diagnosis = doctor(tmp_path)
    assert [problem.text.split(" (")[0] for problem in problems_of(diagnosis, "modes")] == [
        "1 images of mode CMYK",
        "1 images of mode L",
    ]
    assert diagnosis.fit


def test_names_that_do_not_parse(tmp_path):
    root = healthy(tmp_path)
    trees.image(root / "query/sunset.jpg")
    (problem,) = problems_of(doctor(tmp_path), "names")
    assert problem.examples == (str(root / "query/sunset.jpg"),)
    assert problem.fatal


def test_people_of_training_and_test(tmp_path):
    root = healthy(tmp_path)
    trees.image(root / "bounding_box_test/0002_c1s1_000900_00.jpg")
    (problem,) = problems_of(doctor(tmp_path), "shared identities")
    assert problem.fatal
    assert problem.examples == (str(root / "bounding_box_test/0002_c1s1_000900_00.jpg"),)


def test_msmt_numbers_both_halves_from_0_which_is_no_leak(tmp_path):
    trees.msmt(tmp_path)
    assert not problems_of(doctor(tmp_path, "msmt17"), "shared identities")


def test_queries_without_a_match(tmp_path):
    root = healthy(tmp_path)
    alone = trees.image(root / "query/0033_c1s1_000900_00.jpg")
    trees.image(root / "bounding_box_test/0033_c1s1_000901_00.jpg")  # of the same camera only
    (problem,) = problems_of(doctor(tmp_path), "queries without a match")
    assert problem.examples == (str(alone),)
    assert problem.fatal


def test_sysu_query_that_only_the_same_place_could_match(tmp_path):
    root = trees.sysu(tmp_path)
    for camera in (1, 4, 5):
        shutil.rmtree(root / f"cam{camera}/0004")
    names = [problem.text for problem in problems_of(doctor(tmp_path, "sysu"), "queries without a match")]
    assert any("2 of 8 queries" in text and "'all, single-shot', in 10 of 10 draws" in text for text in names)


def test_duplicates(tmp_path):
    root = healthy(tmp_path)
    train, test = root / "bounding_box_train", root / "bounding_box_test"
    shutil.copy(train / "0002_c1s1_000001_00.jpg", train / "0002_c2s1_000777_00.jpg")
    shutil.copy(train / "0002_c2s1_000002_00.jpg", train / "0007_c2s1_000778_00.jpg")
    shutil.copy(train / "0002_c3s1_000003_00.jpg", test / "0050_c2s1_000779_00.jpg")
    problems = {problem.text.split(" ", 1)[1]: problem for problem in problems_of(doctor(tmp_path), "duplicates")}
    assert {text: (len(problem.examples), problem.fatal) for text, problem in problems.items()} == {
        "groups of identical files in both training and test:": (1, True),
        "groups of identical files under several identities:": (1, False),
        "groups of identical files of one identity:": (1, False),
    }


@pytest.mark.parametrize("places", [("unlabelled/{}.jpg",), ("query/ann/a/{}.jpg", "gallery/ann/b/{}.jpg")])
def test_own_images_without_a_test_or_without_training(tmp_path, places):
    for place in places:
        for number in range(3):
            trees.image(tmp_path / place.format(number))
    diagnosis = doctor(tmp_path, "folder")
    assert diagnosis.fit
    assert bool(problems_of(diagnosis, "test")) == (len(places) == 1)


def test_clutter_is_remarked_on_once(tmp_path):
    root = healthy(tmp_path)
    trees.clutter(root / "query")
    (problem,) = problems_of(doctor(tmp_path), "other files")
    assert len(problem.examples) == 6
    assert not problem.fatal


def test_missing_layout_is_drawn(tmp_path, capsys):
    shutil.rmtree(healthy(tmp_path) / "query")
    assert main(["synthetic-a", str(tmp_path)]) == UNFIT
    assert re.search(r"query/ +MISSING", capsys.readouterr().out)


def test_regdb_checks_every_trial(tmp_path):
    root = trees.regdb(tmp_path / "synthetic-regdb")
    diagnosis = doctor(tmp_path, "synthetic-regdb")
    assert diagnosis.fit
    assert len(problems_of(diagnosis, "layout")[0].examples) == 8  # two of ten trials are there
    leak = root / "idx/test_visible_2.txt"
    leak.write_text(leak.read_text() + "Visible/3/male_front_v_00001_3.bmp 2\n")
    (problem,) = problems_of(doctor(tmp_path, "synthetic-regdb"), "shared identities")
    assert "trial 2" in problem.text


def test_regdb_labels_of_both_sides_are_compared(tmp_path):
    root = trees.regdb(tmp_path / "synthetic-regdb")
    labels = root / "idx/train_thermal_1.txt"
    labels.write_text(labels.read_text().replace(".bmp 1", ".bmp 0"))
    (problem,) = problems_of(doctor(tmp_path, "synthetic-regdb"), "identities")
    assert problem.examples == ("2",)


def test_file_names_that_are_no_text(tmp_path):
    root = healthy(tmp_path)
    source = root / "query/0001_c1s1_000100_00.jpg"
    shutil.copy(source, os.fsencode(source).replace(b".jpg", b"\xff.jpg"))
    done = subprocess.run(
        [sys.executable, "-m", "datasets.doctor", "synthetic-a", str(tmp_path)], capture_output=True, check=False
    )
    assert done.returncode == FIT, done.stderr
    assert b"\\udcff.jpg" in done.stdout
    split = opening.open_dataset("synthetic-a", tmp_path).test
    assert len(load_images(split, 16, 8, folder=tmp_path / "cache", progress=False)) == len(split)


def test_json(tmp_path, capsys):
    root = healthy(tmp_path)
    broken = [trees.text(root / f"query/0001_c3s1_00020{n}_00.jpg", "x") for n in range(9)]
    assert main(["synthetic-a", str(tmp_path), "--json", "--workers", "2"]) == UNFIT
    told = json.loads(capsys.readouterr().out)
    assert told["fit"] is False
    (problem,) = [problem for problem in told["problems"] if problem["check"] == "unreadable"]
    assert [line.split(":")[0] for line in problem["examples"]] == [str(file) for file in broken]
    assert told["counts"][0] == {"what": "training identities", "expected": None, "found": 2, "agrees": True}
    assert told["images"]["opened"] == 22


def test_the_index_alone(tmp_path, capsys):
    trees.text(healthy(tmp_path) / "query/0001_c3s1_000200_00.jpg", "x")
    assert main(["synthetic-a", str(tmp_path), "--no-images"]) == FIT
    assert "not opened" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["market1502", "."], ["market1501", "nowhere"], ["market1501", "setup.cfg"], ["folder", "nowhere"]]
)
def test_what_cannot_be_checked(arguments, capsys):
    assert main(arguments) == UNCHECKED
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["market1501"], ["market1501", ".", "--workers", "0"]])
def test_wrong_arguments(arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == UNCHECKED


def test_help_is_fast_and_documents_the_status():
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "datasets.doctor", "--help"], capture_output=True, text=True, check=True
    )
    assert time.perf_counter() - began < 5
    assert "exit status: 0 fit" in done.stdout
    loaded = "import sys, duoreid.datasets.doctor; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "mindspore", "faiss", "scipy.io", "matplotlib"} & set(modules)


def test_an_image_and_a_folder_that_may_not_be_read(tmp_path):
    root = healthy(tmp_path)
    secret = root / "query/0001_c1s1_000100_00.jpg"
    secret.chmod(0)
    words = [sys.executable, "-m", "datasets.doctor", "synthetic-a", str(tmp_path)]
    options = {"capture_output": True, "text": True, "preexec_fn": bound_by_modes}
    done = subprocess.run(words, **options, check=False)
    assert done.returncode == UNFIT
    assert f"{secret}: Permission denied" in done.stdout
    (root / "query").chmod(0)
    try:
        done = subprocess.run(words, **options, check=False)
    finally:
        (root / "query").chmod(0o755)
    assert done.returncode == UNFIT
    assert f"cannot list {root / 'query'}: Permission denied" in done.stdout


def test_the_sheet_shows_cameras_sizes_duplicates_and_what_is_left_out(tmp_path, capsys):
    pytest.importorskip("jinja2")
    root = healthy(tmp_path)
    source = root / "bounding_box_train/0002_c1s1_000100_00.jpg"
    source = source if source.exists() else sorted((root / "bounding_box_train").glob("*.jpg"))[0]
    shutil.copy(source, source.with_name(source.name.replace("_00.jpg", "_07.jpg")))
    (root / "bounding_box_train" / "notes <b>.txt").write_text("no image")
    output = tmp_path / "sheets" / "sheet.html"
    main(["synthetic-a", str(tmp_path), "--html", str(output)])
    assert str(output) in capsys.readouterr().err
    html = output.read_text()
    assert re.findall(r'<details class="section" id="(\w+)"', html) == [
        "findings", "cameras", "people", "sizes", "duplicates",
    ]  # fmt: skip
    assert "2 files" in html
    assert "The smallest" in html
    assert "notes &lt;b&gt;.txt" in html
    assert "<b>.txt" not in html
    assert not re.findall(r"https?://", html)


def test_the_sheet_of_what_cannot_be_read_says_why(tmp_path, capsys):
    pytest.importorskip("jinja2")
    (tmp_path / "synthetic-a").mkdir()
    output = tmp_path / "sheet.html"
    assert main(["synthetic-a", str(tmp_path), "--html", str(output)]) == UNFIT
    html = output.read_text()
    assert "NOT FIT" in html
    assert "Examples of each camera" not in html


def test_a_sheet_without_jinja2_is_refused_before_the_work(tmp_path, monkeypatch, capsys):
    healthy(tmp_path)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(["synthetic-a", str(tmp_path), "--html", str(tmp_path / "sheet.html")]) == UNCHECKED
    assert "pip install 'duoreid[report]'" in capsys.readouterr().err
