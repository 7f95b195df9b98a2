"""The synthetic benchmark: its layouts, its determinism, what it refuses, and that people can be told apart."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from duoreid.core.data import INFRARED, VISIBLE
from duoreid.core.settings.config import DataConfig
from duoreid.datasets import open_dataset
from duoreid.datasets.library import open_data
from duoreid.datasets.synthetic import NAMES, generate, views
from duoreid.datasets.synthetic.__main__ import main
from duoreid.datasets.synthetic.body import Person, Pose, Projection
from duoreid.datasets.synthetic.cross_modal import REGDB_SIZES, SYSU_SIZES
from duoreid.datasets.synthetic.domains import DOMAINS
from duoreid.datasets.synthetic.identities import identity
from duoreid.datasets.synthetic.layouts import LAYOUTS, plan
from duoreid.datasets.synthetic.market_layout import MARKET_SIZES
from duoreid.datasets.synthetic.preview import preview
from duoreid.datasets.synthetic.shapes import SPECTRA, Canvas, Light
from duoreid.datasets.synthetic.views import view, view_jpeg
from tests.runs import small_data

MARKET_NAME = re.compile(r"(-1|\d{4})_c(\d)s(\d)_(\d{6})_(\d\d)\.jpg")
FLAT = Light((0.0, 0.0, 1.0), 1.0)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all four sets at their smallest."""
    root = tmp_path_factory.mktemp("sets")
    for name in NAMES:
        if (small_data() / name).exists():  # made once a process
            shutil.copytree(small_data() / name, root / name)
        else:
            assert generate(name, root, size="tiny", progress=False) == root / name
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", ["synthetic-a", "synthetic-b"])
def test_market_layout(sets: Path, name: str) -> None:
    size = MARKET_SIZES["tiny"]
    matched = {
        folder: [MARKET_NAME.fullmatch(path.name) for path in sorted((sets / name / folder).iterdir())]
        for folder in ("bounding_box_train", "query", "bounding_box_test")
    }
    assert all(all(matches) for matches in matched.values())
    assert [len(matches) for matches in matched.values()] == [
        size.train,
        size.query,
        size.gallery + size.distractors + size.junk,
    ]
    people = {folder: {match[1] for match in matches} for folder, matches in matched.items()}
    assert len(people["bounding_box_train"]) == size.train_identities
    assert people["bounding_box_test"] == people["query"] | {"-1", "0000"}
    assert not people["bounding_box_train"] & people["query"]
    assert {match[2] for match in matched["bounding_box_train"]} == {"1", "2", "3", "4"}
    with Image.open(next((sets / name / "query").iterdir())) as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (64, 128), "RGB")


@pytest.mark.parametrize("name", ["synthetic-a", "synthetic-b"])
@pytest.mark.parametrize("size", ["tiny", "small", "market"])
def test_every_query_has_a_match_under_another_camera(name: str, size: str) -> None:
    items = plan(name, size, 0).items
    assert len({item.path for item in items}) == len(items)
    assert len({(item.person, item.camera, item.frame, item.junk) for item in items}) == len(items)
    queries = [(item.person, item.camera) for item in items if item.path.startswith("query")]
    gallery = {(item.person, item.camera) for item in items if item.path.startswith("bounding_box_test")}
    cameras = Counter(person for person, _ in gallery)
    assert len(set(queries)) == len(queries) == MARKET_SIZES[size].query
    assert all(cameras[person] >= 2 and (person, camera) in gallery for person, camera in queries)
    assert len({person for person, _ in queries}) == MARKET_SIZES[size].test_identities


def test_market_size_has_the_counts_of_market1501() -> None:
    folders = Counter(item.path.split("/")[0] for item in plan("synthetic-a", "market", 3).items)
    assert folders == {"bounding_box_train": 12_936, "query": 3_368, "bounding_box_test": 19_732}


@pytest.mark.parametrize("size", SYSU_SIZES)
def test_sysu_plan(size: str) -> None:
    wanted, work = SYSU_SIZES[size], plan("synthetic-sysu", size, 0)
    lists = {part: set(map(int, work.texts[f"exp/{part}_id.txt"].split(","))) for part in ("train", "val", "test")}
    assert [len(lists[part]) for part in lists] == [wanted.train, wanted.val, wanted.test]
    assert sum(map(len, lists.values())) == len(set.union(*lists.values()))
    seen = Counter((item.person in lists["test"], item.camera in (3, 6)) for item in work.items)
    assert seen == {
        (False, False): wanted.train_visible,
        (False, True): wanted.train_infrared,
        (True, False): wanted.test_visible,
        (True, True): wanted.test_infrared,
    }
    indoor = {item.person for item in work.items if item.camera in (1, 2)}
    assert indoor >= lists["test"]


def test_cross_modal_sets_are_read(sets: Path) -> None:
    sysu = open_dataset("synthetic-sysu", sets)
    assert set(np.unique(sysu.train.cameras[sysu.train.modalities == INFRARED])) == {3, 6}
    regdb = open_dataset("synthetic-regdb", sets, trial=4)
    size = REGDB_SIZES["tiny"]
    for split, people in ((regdb.train, size.train), (regdb.test, size.test)):
        for modality in (VISIBLE, INFRARED):
            counts = Counter(split.identities[split.modalities == modality].tolist())
            assert counts == dict.fromkeys(range(people), size.images)
    same = [file.split("/")[-2] for file in regdb.train.files]
    by_label = {}
    for label, folder in zip(regdb.train.identities.tolist(), same, strict=True):
        assert by_label.setdefault(label, folder) == folder  # one person, one label, in both modalities


def test_size_and_seed_are_options_of_theirs(sets: Path) -> None:
    config = DataConfig(str(sets), height=32, width=16, cache=False, size="tiny")
    assert open_data("synthetic-a", config).dataset.options == ("size", "data_seed")


def test_regdb_trials_split_the_people_differently() -> None:
    texts = plan("synthetic-regdb", "small", 0).texts
    assert len(texts) == 40
    assert len({texts[f"idx/train_visible_{trial}.txt"] for trial in range(1, 11)}) == 10


def test_both_cameras_of_a_pair_see_each_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same person turns alike in both pictures of a walk, up to the moment, and otherwise in the next one."""
    seen = []
    monkeypatch.setattr(
        views, "Person", lambda who, pose, projection: seen.append(pose.yaw) or Person(who, pose, projection)
    )
    for name, cameras in (("synthetic-regdb", (1, 2)), ("synthetic-sysu", (2, 3))):
        turned = []
        for number, frame, camera in itertools.product(range(1, 13), (0, 1), cameras):
            seen.clear()
            view(name, 0, number, camera, frame)
            turned.append(seen[-1])  # the last person drawn is who the picture is of, but for a passer-by in front
        turned = np.array(turned).reshape(12, 2, 2)  # person, frame, camera
        between_cameras = np.median(np.abs(turned[:, :, 0] - turned[:, :, 1]))
        between_frames = np.median(np.abs(turned[:, 0] - turned[:, 1]))
        assert (between_cameras < between_frames) == (name == "synthetic-regdb")


def test_what_infrared_sees_of_colours_and_patterns() -> None:
    """Infrared tells a part of how light a colour is, and hardly its hue; most patterns show in it."""
    people = [identity("mixed", 0, "synthetic-regdb", number) for number in range(400)]
    lower = np.array([who.lower.first for who in people])
    light = lower[:, :3].mean(1)
    near, heat = (np.corrcoef(light, lower[:, channel])[0, 1] for channel in (3, 4))
    assert 0.3 < near < 0.8
    assert -0.8 < heat < -0.3
    hue = lower[:, :3] / lower[:, :3].sum(1, keepdims=True)
    for channel, seen in ((3, near), (4, heat)):
        alone = np.abs(np.corrcoef(hue.T, lower[:, channel])[3, :3])
        assert alone.max() < 0.3 < abs(seen)
    contrast = np.array([np.abs(who.upper.second - who.upper.first)[3:] for who in people])
    assert ((contrast > 0.08).mean(0) > 0.65).all()


def test_infrared_pictures_have_no_colour() -> None:
    for name, camera in (("synthetic-sysu", 3), ("synthetic-sysu", 6), ("synthetic-regdb", 2)):
        pixels = np.asarray(view(name, 0, 1, camera, 0))
        assert (pixels[..., 0] == pixels[..., 1]).all()
        assert (pixels[..., 0] == pixels[..., 2]).all()
        assert pixels.std() > 10


def test_colour_does_not_show_in_infrared() -> None:
    """Dyeing every material changes the visible picture only."""
    who, pose = identity("mixed", 0, "synthetic-sysu", 5), Pose(0.4, 1.0, 0.8, 0.1)

    def drawn(spectrum: str, dye: float) -> np.ndarray:
        canvas = Canvas(np.zeros((128, 64, len(range(5)[SPECTRA[spectrum]])), np.float32), SPECTRA[spectrum], FLAT)
        who.upper.first[:3] = dye
        Person(who, pose, Projection(0.4, 65.0, (32.0, 120.0), 0.1, 0.05)).draw(canvas)
        return canvas.pixels

    for spectrum in ("near", "thermal"):
        assert np.array_equal(drawn(spectrum, 0.1), drawn(spectrum, 0.9))
    assert not np.array_equal(drawn("visible", 0.1), drawn("visible", 0.9))


def test_same_seed_same_bytes_for_any_number_of_workers(sets: Path, tmp_path: Path) -> None:
    parallel = generate("synthetic-b", tmp_path, size="tiny", progress=False, workers=2)
    assert contents(parallel) == contents(sets / "synthetic-b")


def test_another_seed_and_another_domain_show_other_people() -> None:
    first = view_jpeg("synthetic-a", 0, 7, 1, 0)
    assert view_jpeg("synthetic-a", 0, 7, 1, 0) == first
    assert view_jpeg("synthetic-a", 1, 7, 1, 0) != first
    assert view_jpeg("synthetic-a", 0, 7, 1, 1) != first
    assert view_jpeg("synthetic-b", 0, 7, 1, 0) != first


def test_a_complete_set_is_kept_and_any_other_is_made_again(sets: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sets / "synthetic-a", tmp_path / "synthetic-a")
    whole = contents(folder)
    image = sorted((folder / "query").iterdir())[0]
    image.write_bytes(b"marked")
    generate("synthetic-a", tmp_path, size="tiny", progress=False)
    assert image.read_bytes() == b"marked"
    image.unlink()
    generate("synthetic-a", tmp_path, size="tiny", progress=False)
    assert contents(folder) == whole
    generate("synthetic-a", tmp_path, size="tiny", seed=5, progress=False)
    assert json.loads((folder / "manifest.json").read_text())["seed"] == 5
    assert not contents(folder).keys() >= whole.keys()


def test_an_interrupted_set_leaves_nothing_that_looks_complete(tmp_path, monkeypatch) -> None:
    from duoreid.datasets.synthetic import views

    def stop(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(views, "junk_jpeg", stop)  # the last images of the plan
    with pytest.raises(KeyboardInterrupt):
        generate("synthetic-a", tmp_path, size="tiny", progress=False)
    assert not (tmp_path / "synthetic-a").exists()
    monkeypatch.undo()
    folder = generate("synthetic-a", tmp_path, size="tiny", progress=False)
    assert (folder / "manifest.json").is_file()
    assert not (tmp_path / ".synthetic-a.partial").exists()


@pytest.mark.parametrize("manifest", [None, "{", '{"maker": "somebody"}', "[1]"])
def test_somebody_elses_folder_is_left_alone(tmp_path: Path, manifest: str | None) -> None:
    mine = tmp_path / "synthetic-a" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("years of work")
    if manifest is not None:
        (mine.parent / "manifest.json").write_text(manifest)
    before = contents(tmp_path / "synthetic-a")
    with pytest.raises(ValueError, match=r"synthetic-a exists .* left untouched.* Choose another root"):
        generate("synthetic-a", tmp_path, size="tiny", progress=False)
    assert contents(tmp_path / "synthetic-a") == before


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "synthetic-b").write_text("a file")
    with pytest.raises(ValueError, match="left untouched"):
        generate("synthetic-b", tmp_path, size="tiny", progress=False)


def test_oddities_do_not_disturb_the_readers(sets: Path, tmp_path: Path) -> None:
    folder = generate("synthetic-a", tmp_path, size="tiny", progress=False, oddities=True)
    assert (folder / "bounding_box_test" / "Thumbs.db").is_file()
    plain, odd = open_dataset("synthetic-a", sets), open_dataset("synthetic-a", tmp_path)
    assert len(plain.train) == len(odd.train)
    assert np.array_equal(plain.test.identities, odd.test.identities)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "synthetic-c"}, ["'synthetic-c'", *LAYOUTS]),
        ({"size": "huge"}, ["'huge'", "tiny", "small", "market"]),
        ({"workers": 0}, ["workers", "at least 1"]),
        ({"seed": 1.5}, ["seed", "1.5"]),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: dict, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        generate(**{"name": "synthetic-a", "root": tmp_path, "size": "tiny", "progress": False} | arguments)
    assert all(word in str(caught.value) for word in words)
    assert not (tmp_path / "synthetic-a").exists()


def test_people_are_told_apart_by_their_combination_of_attributes() -> None:
    """No two of 300 winter people agree in everything seen, though many share the colour of their coat."""
    people = [identity("winter", 0, "synthetic-b", number) for number in range(1, 301)]
    looks = {
        (who.upper.kind, who.lower.kind, who.bag, who.headwear, who.haircut, *np.round(who.upper.first[:3], 3))
        for who in people
    }
    assert len(looks) == len(people)
    dark = sum(float(who.upper.first[:3].max()) < 0.12 for who in people)
    assert dark > 0.4 * len(people)


def test_summer_is_brighter_than_winter() -> None:
    light = {
        style: np.mean([identity(style, 0, style, n).upper.first[:3].mean() for n in range(200)])
        for style in ("summer", "winter")
    }
    assert light["summer"] > 2 * light["winter"]


def test_orientation_shows_face_or_backpack() -> None:
    """A red backpack shows from behind and not from the front; skin of the face the other way round."""
    number = next(n for n in range(1, 500) if _suits(identity("summer", 0, "synthetic-a", n)))
    who = identity("summer", 0, "synthetic-a", number)
    who.bag_cloth[:3] = (1.0, 0.0, 0.0)
    who.skin[:3] = (0.0, 1.0, 0.0)
    shares = {}
    for yaw in (0.0, np.pi):
        canvas = Canvas(np.zeros((128, 64, 3), np.float32), SPECTRA["visible"], FLAT)
        Person(who, Pose(yaw, 0.0, 0.5, 0.0), Projection(yaw, 65.0, (32.0, 122.0), 0.0, 0.0)).draw(canvas)
        red, green, blue = np.moveaxis(canvas.pixels, 2, 0)
        shares[yaw] = ((red > 0.8) & (green < 0.2) & (blue < 0.2)).sum(), (green[:30] > 0.8).sum()
    assert shares[np.pi][0] > 2.5 * shares[0.0][0]
    assert shares[0.0][1] > shares[np.pi][1] + 20


def _suits(who) -> bool:
    return who.bag == "backpack" and who.haircut == "short" and who.headwear == "none" and who.upper.inner is None


def test_a_tube_covers_its_area_without_holes() -> None:
    canvas = Canvas(np.zeros((60, 60, 3), np.float32), SPECTRA["visible"], FLAT)
    canvas.tube(np.array([30.0, 10.0]), np.array([30.0, 50.0]), (8.0, 8.0), np.ones(5, np.float32), flat=True)
    assert canvas.pixels[..., 0].sum() == pytest.approx(16 * 40, rel=0.02)
    assert canvas.pixels[20:40, 25:35].min() == 1.0
    before = canvas.pixels.copy()
    canvas.tube(np.array([300.0, 10.0]), np.array([300.0, 50.0]), (8.0, 8.0), np.zeros(5, np.float32))
    canvas.ellipsoid(np.array([-50.0, -50.0]), (3.0, 3.0), np.zeros(5, np.float32))
    assert np.array_equal(canvas.pixels, before)


def test_an_ellipsoid_covers_its_area() -> None:
    canvas = Canvas(np.zeros((60, 60, 3), np.float32), SPECTRA["visible"], FLAT)
    canvas.ellipsoid(np.array([30.0, 30.0]), (12.0, 12.0), np.ones(5, np.float32))
    assert canvas.pixels[..., 0].sum() == pytest.approx(np.pi * 144, rel=0.02)


@pytest.mark.filterwarnings("error")
def test_many_views_without_a_warning() -> None:
    for name, domain in DOMAINS.items():
        for number in range(1, 9):
            pixels = np.asarray(view(name, 11, number, 1 + number % len(domain.cameras), number))
            assert pixels.shape == (128, 64, 3)


def test_preview(tmp_path: Path) -> None:
    path = preview(tmp_path / "new" / "sheet.png", rows=1, cross_modal_rows=1, scale=0.5)
    with Image.open(path) as sheet:
        assert sheet.width > 14 * 32
    with pytest.raises(ValueError, match="rows"):
        preview(tmp_path / "none.png", rows=0)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synthetic-a", str(tmp_path), "--size", "tiny", "--workers", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(tmp_path / "synthetic-a")
    assert "images/s" in captured.err
    assert main(["synthetic-z", str(tmp_path)]) == 2
    assert "synthetic-z" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([])
