"""Readers of the visible datasets, and where a dataset is looked for."""

import random

import numpy as np
import pytest

from duoreid.core.data import INFRARED, VISIBLE
from duoreid.datasets import NAMES, open_dataset
from duoreid.datasets.errors import DatasetError
from tests.datasets import trees

HOMES = [
    ("market1501", "Market-1501-v15.09.15"),
    ("market1501", "market1501"),
    ("market1501", "market1501/Market-1501-v15.09.15"),
    ("dukemtmc", "dukemtmc"),
    ("dukemtmc", "dukemtmcreid"),
    ("dukemtmc", "dukemtmc-reid/DukeMTMC-reID"),
    ("dukemtmc", "dukemtmc/DukeMTMC-reID"),
    ("msmt17", "msmt17/MSMT17_V1"),
    ("msmt17", "MSMT17_V2"),
    ("msmt17", "msmt17"),
    ("sysu", "sysu"),
    ("sysu", "sysu/SYSU-MM01"),
    ("sysu", "SYSU-MM01"),
    ("regdb", "regdb"),
    ("regdb", "RegDB"),
    ("occluded-duke", "Occluded_Duke"),
    ("cuhk03-detected", "cuhk03-np/detected"),
    ("cuhk03-labeled", "CUHK03/labeled"),
    ("veri776", "VeRi"),
    ("vehicleid", "VehicleID_V1.0"),
    ("llcm", "LLCM"),
    ("mars", "MARS"),
    ("synthetic-a", "synthetic-a"),
    ("synthetic-sysu", "synthetic-sysu"),
    ("synthetic-regdb", "synthetic-regdb"),
]


@pytest.mark.parametrize(("name", "home"), HOMES)
def test_found_under_every_spelling_and_by_its_own_folder(tmp_path, name, home):
    trees.TREES[name](tmp_path / home)
    by_parent, itself = open_dataset(name, tmp_path), open_dataset(name, tmp_path / home)
    assert by_parent.root == itself.root == str(tmp_path / home)
    assert by_parent.train.files == itself.train.files
    assert by_parent.name == name
    assert all(file.startswith(str(tmp_path)) for file in by_parent.train.files + by_parent.test.files)


def test_every_name_is_tried_here():
    assert {name for name, _ in HOMES} | {"folder", "synthetic-b"} == set(NAMES)


def test_names_in_any_spelling_and_unknown_ones(tmp_path):
    trees.duke(tmp_path / "dukemtmc")
    assert open_dataset("DukeMTMC-reID", tmp_path).name == "dukemtmc"
    with pytest.raises(ValueError, match="market1501"):
        open_dataset("market1502", tmp_path)


def test_two_copies_side_by_side_are_refused(tmp_path):
    trees.msmt(tmp_path / "MSMT17_V1")
    trees.msmt(tmp_path / "MSMT17_V2", version=2)
    with pytest.raises(DatasetError, match="2 folders"):
        open_dataset("msmt17", tmp_path)


def test_market_identities_cameras_and_junk(tmp_path):
    data = open_dataset("market1501", trees.market(tmp_path))
    assert data.train.identities.tolist() == [2, 2, 2, 7, 7, 7]
    assert data.train.cameras.tolist() == [1, 2, 3, 1, 2, 3]
    (trial,) = data.searches[0].trials
    assert data.test.identities[trial.query].tolist() == [1, 5]
    assert sorted(data.test.identities[trial.gallery].tolist()) == [0, 1, 1, 5, 5]  # a distractor, no junk
    assert (data.test.cameras[trial.query] == [1, 2]).all()
    assert (data.searches[0].ignore, data.searches[0].official) == ("same-camera", True)
    assert data.train.identities.dtype == data.train.cameras.dtype == np.int32
    assert data.train.modalities.dtype == np.uint8


def test_duke_names(tmp_path):
    data = open_dataset("dukemtmc", trees.duke(tmp_path))
    assert data.train.cameras.tolist() == [2]
    assert data.test.identities.tolist() == [5, 5, 6]
    assert data.test.cameras.tolist() == [1, 2, 8]


def test_market_takes_doubled_suffixes_and_refuses_other_names(tmp_path):
    root = trees.market(tmp_path)
    trees.image(root / "query/0001_c3s2_000900_00.jpg.jpg")
    assert len(open_dataset("market1501", root).searches[0].trials[0].query) == 3
    trees.image(root / "query/holiday.jpg")
    with pytest.raises(DatasetError, match=r"do not parse(.|\n)*holiday\.jpg"):
        open_dataset("market1501", root)


def test_distractors_belong_to_the_gallery(tmp_path):
    root = trees.market(tmp_path)
    trees.image(root / "bounding_box_train/0000_c1s1_000001_00.jpg")
    with pytest.raises(DatasetError, match="distractors"):
        open_dataset("market1501", root)


def test_duke_read_as_market_says_what_it_is(tmp_path):
    with pytest.raises(DatasetError, match="dukemtmc"):
        open_dataset("market1501", trees.duke(tmp_path))


def test_half_a_dataset_is_drawn_with_what_is_missing(tmp_path):
    root = trees.market(tmp_path)
    (root / "bounding_box_test").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError) as error:
        open_dataset("market1501", root)
    drawn = {line.split()[1]: line for line in str(error.value).splitlines() if "──" in line}
    assert "found" in drawn["query/"]
    assert "MISSING" in drawn["bounding_box_test/"]


def test_absent_empty_and_file_roots(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        open_dataset("market1501", tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"bounding_box_train/"):
        open_dataset("market1501", tmp_path)
    with pytest.raises(DatasetError, match="is a file"):
        open_dataset("market1501", trees.text(tmp_path / "x", "x"))
    (tmp_path / "market1501").mkdir()
    with pytest.raises(DatasetError, match="holds nothing"):
        open_dataset("market1501", tmp_path)


def test_empty_folder_of_a_part(tmp_path):
    root = trees.market(tmp_path)
    for file in (root / "query").iterdir():
        file.unlink()
    with pytest.raises(DatasetError, match="query holds no image"):
        open_dataset("market1501", root)


def test_links_that_lead_round_or_nowhere(tmp_path):
    root = trees.market(tmp_path / "market1501")
    (tmp_path / "market-1501").symlink_to("market-1501")
    (root / "query/round").symlink_to(root / "query")
    assert len(open_dataset("market1501", tmp_path).test) == 7
    (root / "query/0009_c1s1_000001_00.jpg").symlink_to(tmp_path / "gone.jpg")
    (root / "query/0008_c1s1_000001_00.jpg").symlink_to("0008_c1s1_000001_00.jpg")
    with pytest.raises(DatasetError, match=r"0009_c1s1"):
        open_dataset("market1501", tmp_path)


@pytest.mark.parametrize("version", [1, 2])
def test_msmt_lists(tmp_path, version):
    data = open_dataset("msmt17", trees.msmt(tmp_path, version))
    assert data.train.identities.tolist() == [0, 0, 1, 1]  # the last from the validation list
    assert data.train.cameras.tolist() == [1, 15, 2, 3]
    (trial,) = data.searches[0].trials
    assert data.test.identities[trial.gallery].tolist() == [0, 1, 2]
    assert ("mask_test_v2" in data.test.files[0]) == (version == 2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../../secret/0000_000_01_x.jpg 0", "may not lead out"),
        ("/etc/0000_000_01_x.jpg 0", "may not lead out"),
        ("C:\\data\\0000_000_01_x.jpg 0", "may not lead out"),
        ("..\\0000_000_01_x.jpg 0", "may not lead out"),
        ("0000/0000_000_01_0303morning_0008_0.jpg", "line 1"),
        ("0000/0000_000_01_0303morning_0008_0.jpg x", "line 1"),
        ("0000/0000_099_01_0303morning_0008_0.jpg 0", "not there"),
        ("0000/portrait.jpg 0", "do not parse"),
    ],
)
def test_msmt_bad_lines(tmp_path, line, message):
    trees.text(trees.msmt(tmp_path) / "list_query.txt", line + "\n")
    with pytest.raises(DatasetError, match=message):
        open_dataset("msmt17", tmp_path)


def test_msmt_one_image_missing_is_named(tmp_path):
    data = open_dataset("msmt17", trees.msmt(tmp_path))
    lost = data.train.files[1]
    (tmp_path / lost).unlink()
    with pytest.raises(DatasetError, match=f"list_train.txt lists(.|\n)*{lost}"):
        open_dataset("msmt17", tmp_path)


def test_lists_that_are_not_text_or_missing(tmp_path):
    root = trees.msmt(tmp_path)
    (root / "list_val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="UTF-8"):
        open_dataset("msmt17", root)
    (root / "list_val.txt").unlink()
    with pytest.raises(DatasetError, match=r"list_val\.txt missing"):
        open_dataset("msmt17", root)


LARGE = [
    ("market1501", "bounding_box_train/99999999999_c1s1_000001_00.jpg", "identity above 2,147,483,647"),
    ("market1501", "bounding_box_test/0001_c99999999999s1_000001_00.jpg", "camera above 2,147,483,647"),
    ("dukemtmc", "query/3000000000_c1_f0000001.jpg", "identity above 2,147,483,647"),
]


@pytest.mark.parametrize(("name", "path", "message"), LARGE)
def test_numbers_that_32_bits_do_not_hold_are_named(tmp_path, name, path, message):
    """Cut to 32 bits they would be other people's."""
    root = trees.TREES[name](tmp_path)
    trees.image(root / path)
    with pytest.raises(DatasetError, match=rf"{message}(.|\n)*{path.split('/')[1]}"):
        open_dataset(name, root)


@pytest.mark.parametrize(("label", "message"), [("4294967296", "identity above"), ("9" * 5000, "line 1, is")])
def test_labels_that_32_bits_do_not_hold_are_named(tmp_path, label, message):
    root = trees.msmt(tmp_path)
    (root / "list_train.txt").write_text((root / "list_train.txt").read_text().replace(" 0\n", f" {label}\n"))
    with pytest.raises(DatasetError, match=message):
        open_dataset("msmt17", root)


@pytest.mark.parametrize("word", ["\u00b2", "9" * 5000, "-1", "1.5"])
def test_sysu_identities_that_are_no_numbers(tmp_path, word):
    trees.text(trees.sysu(tmp_path) / "exp/test_id.txt", f"4,{word}")
    with pytest.raises(DatasetError, match="expected identities separated by commas"):
        open_dataset("sysu", tmp_path)


def test_cuhk03_in_its_two_forms(tmp_path):
    for form in ("detected", "labeled"):
        trees.cuhk03(tmp_path / "cuhk03-np" / form)
        data = open_dataset(f"cuhk03-{form}", tmp_path)
        assert (data.train.identities.tolist(), data.train.cameras.tolist()) == ([1, 1], [1, 2])
        assert data.test.identities.tolist() == [2, 2, 2]


def test_veri_is_read_and_pointed_to_from_a_market_folder(tmp_path):
    data = open_dataset("veri776", trees.veri(tmp_path / "VeRi"))
    assert data.test.cameras.tolist() == [2, 2, 20]
    assert data.searches[0].ignore == "same-camera"
    for theirs, ours in (("train", "train"), ("query", "query"), ("test", "test")):
        source = tmp_path / "VeRi" / f"image_{theirs}"
        source.rename(tmp_path / "VeRi" / ("query" if ours == "query" else f"bounding_box_{ours}"))
    with pytest.raises(DatasetError, match="those of veri776"):
        open_dataset("market1501", tmp_path / "VeRi")


def test_vehicleid_draws_one_image_of_each_vehicle(tmp_path):
    data = open_dataset("vehicleid", trees.vehicleid(tmp_path))
    assert data.train.identities.tolist() == [5, 5, 9]
    assert [search.name for search in data.searches] == ["small", "medium"]
    for search, vehicles in zip(data.searches, ((20, 21, 22), (20, 21, 23)), strict=True):
        assert (len(search.trials), search.ignore, search.official) == (10, "nothing", False)
        for trial in search.trials:
            assert data.test.identities[trial.gallery].tolist() == list(vehicles)
            both = np.concatenate([trial.query, trial.gallery])
            assert len(np.unique(both)) == len(both) == 7
            assert set(data.test.identities[both].tolist()) == set(vehicles)
    galleries = {tuple(trial.gallery.tolist()) for trial in data.searches[0].trials}
    assert len(galleries) > 1
    again = open_dataset("vehicleid", tmp_path)
    assert {tuple(trial.gallery.tolist()) for trial in again.searches[0].trials} == galleries
    (tmp_path / "image/0000004.jpg").unlink()
    with pytest.raises(DatasetError, match=r"0000004\.jpg"):
        open_dataset("vehicleid", tmp_path)


@pytest.mark.parametrize("draws", ["own", "field"])
def test_llcm_draws_one_image_of_each_person_and_camera(tmp_path, draws):
    data = open_dataset("llcm", trees.llcm(tmp_path), draws=draws)
    assert (data.train.identities.tolist(), data.train.cameras.tolist()) == ([0, 1, 0, 1], [1, 2, 1, 2])
    assert data.train.modalities.tolist() == [VISIBLE, VISIBLE, INFRARED, INFRARED]
    forth, back = data.searches
    assert (forth.name, back.name) == ("visible to infrared", "infrared to visible")
    assert (forth.ignore, forth.distinct_identities, len(forth.trials)) == ("same-camera", True, 10)
    for search, cameras, asked in ((forth, (1, 4), 18), (back, (1, 3, 4), 12)):
        for trial in search.trials:
            places = zip(data.test.identities[trial.gallery], data.test.cameras[trial.gallery], strict=True)
            assert [(int(i), int(c)) for i, c in places] == [(i, c) for i in (8, 9) for c in cameras]
            assert len(trial.query) == asked
    random.seed(3)
    files = [sorted((tmp_path / f"test_nir/cam{c}/{p:04d}").iterdir()) for p in (8, 9) for c in (1, 4)]
    expected = [str(random.choice(images)) for images in files]
    drawn = [data.test.files[row] for row in forth.trials[3].gallery]
    assert (drawn == expected) == (draws == "field")


def test_llcm_lists_that_do_not_fit(tmp_path):
    root = trees.llcm(tmp_path)
    (root / "vis/0001").rename(root / "vis/moved")
    with pytest.raises(DatasetError, match=r"1 images that train_vis\.txt lists are missing"):
        open_dataset("llcm", root)
    trees.text(root / "idx/test_id.txt", "8,x")
    with pytest.raises(DatasetError, match="'x'"):
        open_dataset("llcm", root)
    trees.text(root / "idx/test_id.txt", "77")
    with pytest.raises(DatasetError, match="holds no image of the identities"):
        open_dataset("llcm", root)
