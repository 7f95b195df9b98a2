"""`duoreid calibrate` and `duoreid group` with people who are told by their colour."""

import csv
import json

import numpy as np
import pytest

from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.commands import calibrate, group
from duoreid.core.data import Dataset, OpenData, Search, Split, Trial
from duoreid.core.errors import UserError
from duoreid.core.random import rng
from duoreid.core.serving.storing import require_room, store
from duoreid.core.threshold import Threshold
from duoreid.core.training.locking import acquire
from duoreid.datasets import open_dataset
from tests.core import coloured

PEOPLE, CAMERAS = 40, 3


def opened(*, labelled=True, cameras=True, modalities=False, searches=True):
    """Return data of people of random colours: each asks by camera 0, the gallery holds the others."""
    random = rng(0, "colours of people")
    colours = random.integers(30, 226, (PEOPLE, 1, 1, 3)).repeat(CAMERAS, axis=0)
    images = np.clip(colours + random.integers(-20, 21, (PEOPLE * CAMERAS, 32, 16, 3)), 0, 255).astype(np.uint8)
    rows = np.arange(len(images))
    of = rows % CAMERAS
    identities = rows // CAMERAS if labelled else np.full(len(rows), -1)
    kinds = (of > 0).astype(np.uint8) if modalities else np.zeros(len(rows), np.uint8)
    split = Split(("",) * len(rows), identities, of if cameras else np.full(len(rows), -1), kinds)
    search = Search("test", (Trial(rows[of == 0], rows[of > 0]),), "same-camera" if cameras else "nothing")
    dataset = Dataset("colours", "", split, split, (search,) if searches else ())
    return OpenData(dataset, images, images)


def made(path, threshold=None):
    model = coloured.model(threshold)
    model.source = str(path)
    return model


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "network.safetensors"
    checkpoint.save(path, {"weight": np.arange(6, dtype=np.float32)}, {"config": {"method": "x"}, "stage": 2})
    return path


def run(file, *words, data=None):
    return calibrate.main(
        lambda *_, **__: made(file),
        lambda name, config: opened() if data is None else data,
        [str(file), "--dataset", "colours", "--resamples", "20", *words],
    )


def test_a_threshold_is_stored_beside_what_the_file_held(file, capsys):
    assert run(file, "--sizes", "10", "50") == 0
    shown = capsys.readouterr().out
    assert "120 labelled test images, each against the 119 others" in shown
    assert "too few for a false-accept rate of 0.001" in shown
    state, metadata = checkpoint.load(file)
    assert state["weight"].tolist() == list(range(6))
    stored = Threshold.from_dict(metadata.pop("threshold"))
    assert metadata == {"config": {"method": "x"}, "stage": 2}
    assert (stored.digest, stored.dataset, stored.identities) == ("c0", "colours", PEOPLE)
    assert stored.at(10) < stored.at(50) <= 1


def test_json_says_the_same_and_a_dry_run_stores_nothing(file, capsys):
    before = file.read_bytes()
    assert run(file, "--dry-run", "--json", "--far", "0.1") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["far"], told["stored"]) == (0.1, None)
    assert {point["size"] for point in told["points"]} == {100, 1000, 10_000}
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "data", "message"),
    [
        (["--far", "0.001"], {}, "smallest that they support"),
        (["--far", "2"], {}, "between 0 and 1"),
        (["--sizes", "0"], {}, "at least 1"),
        (["--part", "train"], {"labelled": False}, "none of the 120 training images is labelled"),
        (["--part", "test"], {"searches": False}, "no labelled queries"),
    ],
)
def test_what_cannot_be_calibrated_is_told(file, capsys, words, data, message):
    before = file.read_bytes()
    assert run(file, *words, data=opened(**data)) == 2
    assert message in capsys.readouterr().err
    assert file.read_bytes() == before


def test_who_asks_whom(file, capsys):
    assert run(file, "--dry-run", data=opened(cameras=False)) == 0
    assert "cameras unknown" in capsys.readouterr().out
    assert run(file, "--dry-run", "--far", "0.1", data=opened(modalities=True)) == 0
    assert "40 queries of the search 'test', first draw of 80 images" in capsys.readouterr().out
    assert run(file, "--dry-run", data=opened(searches=False)) == 0
    assert "120 labelled training images" in capsys.readouterr().out


def test_weights_of_another_form_are_refused_before_anything_is_computed(tmp_path, capsys):
    assert run(tmp_path / "network.pth") == 2
    assert "duoreid export" in capsys.readouterr().err


def threshold():
    return Threshold.from_dict(coloured.model().threshold.to_dict())


def test_a_run_that_trains_keeps_its_file(file):
    (file.parent / "config.json").write_text("{}")
    lock = acquire(file.parent)
    try:
        with pytest.raises(UserError, match="in use by"):
            store(file, threshold())
    finally:
        lock.release()
    store(file, threshold())
    assert "threshold" in checkpoint.load(file)[1]


def test_an_exported_graph_carries_it(tmp_path):
    onnx = pytest.importorskip("onnx")
    one = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    two = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [one], [two])
    model = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(model, {"height": "64", "threshold": "old"})
    path = tmp_path / "network.onnx"
    onnx.save(model, str(path))
    require_room(path)
    store(path, threshold())
    texts = {prop.key: prop.value for prop in onnx.load(str(path)).metadata_props}
    assert texts["height"] == "64"
    assert Threshold.from_dict(json.loads(texts["threshold"])) == threshold()


def heap(tmp_path, *words, threshold=0.95):
    place = coloured.folder(tmp_path / "heap", images=5)
    output = place / "groups.csv"
    settings = ["--k1", "4", "--k2", "1", "--min-samples", "2", "--eps", "0.6"]
    status = group.main(
        lambda *_, **__: coloured.model(threshold), ["m.onnx", str(place), "--output", str(output), *settings, *words]
    )
    return status, output


def test_groups_are_written_and_read_back(tmp_path, capsys):
    status, output = heap(tmp_path, "--pattern", r"_c(?P<camera>\d)", "--sheets", str(tmp_path / "sheets"))
    assert status == 0
    assert "15 pictures -> 3 groups" in capsys.readouterr().out
    rows = list(csv.DictReader(output.open()))
    assert list(rows[0]) == ["path", "identity", "camera", "certainty"]
    for name, identity in zip(coloured.COLOURS, ("new-1", "new-2", "new-3"), strict=True):
        assert {row["identity"] for row in rows if row["path"].startswith(name)} == {identity}
    assert all(0.5 < float(row["certainty"]) <= 1 for row in rows)
    assert sorted(sheet.name for sheet in (tmp_path / "sheets").iterdir()) == [
        f"000{number}-new-{number}.jpg" for number in (1, 2, 3)
    ]
    for given in (output, output.parent):
        dataset = open_dataset("folder", given)
        assert len(dataset.train) == 15
        assert len(np.unique(dataset.train.identities)) == 3
        assert sorted(np.unique(dataset.train.cameras)) == [1, 2, 3, 4, 5]


def test_known_names_are_spread_and_json_counts_them(tmp_path, capsys):
    place = coloured.folder(tmp_path / "heap", images=5)
    known = place / "known.csv"
    lines = [f"{path.name},{'Ann B.' if path.name == 'ann_c2.png' else ''}" for path in sorted(place.glob("*.png"))]
    known.write_text("path,identity\n" + "\n".join(lines) + "\n")
    output = place / "groups.csv"
    words = ["m.onnx", str(known), "--output", str(output), "--k1", "4", "--k2", "1", "--min-samples", "2"]
    assert group.main(lambda *_, **__: coloured.model(), [*words, "--eps", "0.6", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["groups"], told["known"], told["alone"]) == (3, 1, 0)
    rows = list(csv.DictReader(output.open()))
    assert {row["identity"] for row in rows if row["path"].startswith("ann")} == {"Ann B."}


def test_a_threshold_that_nobody_reaches_leaves_everybody_alone(tmp_path, capsys):
    status, output = heap(tmp_path, "--accepted", threshold=1.2)
    assert status == 0
    assert "nobody is near anybody" in capsys.readouterr().out
    assert {row["identity"] for row in csv.DictReader(output.open())} == {""}


def test_groups_that_cannot_be_made_are_told(tmp_path, capsys):
    assert heap(tmp_path, "--accepted", threshold=None)[0] == 2
    assert "duoreid calibrate" in capsys.readouterr().err
    assert heap(tmp_path, "--output", str(tmp_path / "elsewhere" / "groups.csv"))[0] == 2
    assert "write it into a folder above the images" in capsys.readouterr().err
    assert heap(tmp_path, "--output", str(tmp_path / "groups.txt"))[0] == 2
    assert "must end in .csv" in capsys.readouterr().err
