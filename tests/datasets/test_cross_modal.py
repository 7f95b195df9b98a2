"""Readers of SYSU-MM01 and RegDB, and the draws of SYSU-MM01's gallery."""

import random
from pathlib import Path

import numpy as np
import pytest

from duoreid.core.data import INFRARED, VISIBLE
from duoreid.datasets import open_dataset
from duoreid.datasets.errors import DatasetError
from tests.datasets import trees


def search(data, name):
    return next(search for search in data.searches if search.name == name)


def test_sysu_parts_and_modalities(tmp_path):
    data = open_dataset("sysu", trees.sysu(tmp_path))
    assert set(data.train.identities.tolist()) == {1, 2, 3}  # 3 is of the validation list
    assert set(data.test.identities.tolist()) == {4, 9}
    infrared = np.isin(data.train.cameras, (3, 6))
    assert (data.train.modalities == np.where(infrared, INFRARED, VISIBLE)).all()
    assert infrared.sum() * 2 == (~infrared).sum()
    assert [s.name for s in data.searches] == [
        "all, single-shot",
        "all, 10-shot",
        "indoor, single-shot",
        "indoor, 10-shot",
    ]
    for s in data.searches:
        assert (len(s.trials), s.ignore, s.distinct_identities, s.official) == (10, "same-place", True, False)


@pytest.mark.parametrize(("mode", "cameras"), [("all", (1, 2, 4, 5)), ("indoor", (1, 2))])
@pytest.mark.parametrize(("shot", "most"), [("single-shot", 1), ("10-shot", 10)])
def test_sysu_draws_take_so_many_images_of_each_identity_and_camera(tmp_path, mode, cameras, shot, most):
    data = open_dataset("sysu", trees.sysu(tmp_path))
    for trial in search(data, f"{mode}, {shot}").trials:
        assert set(data.test.cameras[trial.query].tolist()) == {3, 6}
        places, counts = np.unique(
            np.stack([data.test.cameras[trial.gallery], data.test.identities[trial.gallery]]),
            axis=1,
            return_counts=True,
        )
        expected = {
            (c, i): min(most, 12 if (c, i) == (1, 4) else 2) for c in cameras for i in (4, 9) if (c, i) != (2, 9)
        }
        assert dict(zip(map(tuple, places.T.tolist()), counts.tolist(), strict=True)) == expected
        assert len(np.unique(trial.gallery)) == len(trial.gallery)


def test_sysu_draws_follow_the_seed_and_differ_between_trials(tmp_path):
    trees.sysu(tmp_path)
    first, again, other = (open_dataset("sysu", tmp_path, seed=seed).searches[1] for seed in (0, 0, 1))
    galleries = [trial.gallery.tolist() for trial in first.trials]
    assert galleries == [trial.gallery.tolist() for trial in again.trials]
    assert galleries != [trial.gallery.tolist() for trial in other.trials]
    assert len(set(map(tuple, galleries))) > 1


def test_sysu_official_draws(tmp_path):
    root = trees.sysu(tmp_path)
    cells = trees.permutations(root, 12)
    data = open_dataset("sysu", root)
    for name, shots in (("all, single-shot", 1), ("all, 10-shot", 10)):
        protocol = search(data, name)
        assert protocol.official
        for number, trial in enumerate(protocol.trials):
            files = [data.test.files[row] for row in trial.gallery]
            expected = [
                str(root / f"cam{camera}/{person:04d}/{image:04d}.jpg")
                for camera in (1, 2, 4, 5)
                for person in (4, 9)
                for image in (cells[camera - 1, 0][person - 1, 0][number : number + 1].ravel()[:shots])
            ]
            assert files == expected


def test_sysu_official_draws_are_matched_in_order_where_names_have_gaps(tmp_path):
    root = trees.sysu(tmp_path)
    cells = trees.permutations(root, 12)
    expected = [trial.gallery.tolist() for trial in open_dataset("sysu", root).searches[1].trials]
    for number in range(12, 4, -1):  # 0005 is missing: its followers move up
        (root / f"cam1/0004/{number:04d}.jpg").rename(root / f"cam1/0004/{number + 1:04d}.jpg")
    data = open_dataset("sysu", root)
    assert [trial.gallery.tolist() for trial in data.searches[1].trials] == expected
    assert Path(data.test.files[expected[0][0]]).stem != f"{cells[0, 0][3, 0][0, 0]:04d}" or cells[0, 0][3, 0][0, 0] < 5
    (remark,) = [one for one in data.remarks if "gaps" in one]
    assert "cam1/0004: 12 images, the last is 0013" in remark
    (root / "cam1/0004/0013.jpg").unlink()
    with pytest.raises(DatasetError, match="permutes 12 images"):
        open_dataset("sysu", root)


def test_the_fields_draws(tmp_path):
    """By Python's random, seeded by the trial: person by person, camera by camera, one of the sorted files."""
    root = trees.sysu(tmp_path, draws=True)
    data = open_dataset("sysu", root, draws="field")
    assert [one.name for one in data.searches] == ["all, single-shot", "indoor, single-shot"]
    assert not any(one.official for one in data.searches)
    for one, cameras in zip(data.searches, ((1, 2, 4, 5), (1, 2)), strict=True):
        for number, trial in enumerate(one.trials):
            random.seed(number)
            expected = [
                random.choice(sorted(str(file) for file in (root / f"cam{camera}/{person}").glob("0*.jpg")))
                for person in ("0004", "0009")
                for camera in cameras
                if (root / f"cam{camera}/{person}").is_dir()
            ]
            assert [data.test.files[row] for row in trial.gallery] == expected
    with pytest.raises(ValueError, match="--draws field is for datasets whose galleries are drawn"):
        open_dataset("market1501", trees.market(tmp_path / "m"), draws="field")
    with pytest.raises(ValueError, match="field"):
        open_dataset("sysu", root, draws="feild")


def test_sysu_official_draws_that_do_not_fit(tmp_path):
    root = trees.sysu(tmp_path, draws=True)
    (root / "cam1/0004/0005.jpg").unlink()
    with pytest.raises(DatasetError, match=r"identity 4 in cam1"):
        open_dataset("sysu", root)
    (root / "exp/rand_perm_cam.mat").write_bytes(b"no matlab")
    with pytest.raises(DatasetError, match="MATLAB"):
        open_dataset("sysu", root)


def test_sysu_id_files(tmp_path):
    root = trees.sysu(tmp_path)
    plain = open_dataset("sysu", root).train.files
    trees.text(root / "exp/train_id.txt", "\ufeff 1, 2,\n\n")
    assert open_dataset("sysu", root).train.files == plain
    trees.text(root / "exp/train_id.txt", "1,two")
    with pytest.raises(DatasetError, match="'two'"):
        open_dataset("sysu", root)
    trees.text(root / "exp/train_id.txt", "")
    with pytest.raises(DatasetError, match="empty"):
        open_dataset("sysu", root)
    trees.text(root / "exp/train_id.txt", "1,4")
    with pytest.raises(DatasetError, match=r"both training and test(.|\n)*4"):
        open_dataset("sysu", root)


def test_sysu_ids_from_mat_files(tmp_path):
    from scipy.io import savemat

    root = trees.sysu(tmp_path)
    expected = open_dataset("sysu", root).test.files
    (root / "exp/test_id.txt").unlink()
    savemat(root / "exp/test_id.mat", {"id": np.array([[4, 9]], np.uint16)})
    assert open_dataset("sysu", root).test.files == expected


def test_sysu_missing_camera(tmp_path):
    root = trees.sysu(tmp_path)
    (root / "cam6").rename(tmp_path / "cam-six")
    with pytest.raises(DatasetError, match=r"cam6/ missing(.|\n)*cam6/ +MISSING"):
        open_dataset("sysu", root)


def test_sysu_images_named_otherwise(tmp_path):
    root = trees.sysu(tmp_path)
    trees.image(root / "cam1/0001/copy.jpg")
    with pytest.raises(DatasetError, match=r"copy\.jpg"):
        open_dataset("sysu", root)


def arrays_only(root):
    trees.sysu(root)
    for person in (1, 2, 3):
        for camera in range(1, 7):
            folder = root / f"cam{camera}/{person:04d}"
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
    return trees.sysu_arrays(root)


def test_sysu_arrays_of_the_port(tmp_path):
    arrays = arrays_only(tmp_path)
    train = open_dataset("sysu", tmp_path).train
    assert train.modalities.tolist() == [VISIBLE] * 5 + [INFRARED] * 3
    assert train.identities.tolist() == [0, 1, 2, 0, 1, 0, 1, 2]
    assert (train.cameras == -1).all()
    assert train.files[6] == f"{tmp_path / 'train_ir_resized_img.npy'}#1"
    both = np.concatenate([arrays["rgb_img"], arrays["ir_img"]])
    rows = np.array([7, 0, 5, 4, 4])
    assert (train.pixels[rows] == both[rows]).all()


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        ("train_ir_resized_img.npy", np.zeros((3, 16, 8, 3), np.float32), "uint8"),
        ("train_ir_resized_img.npy", np.zeros((3, 8, 8, 3), np.uint8), "different sizes"),
        ("train_rgb_resized_label.npy", np.zeros(4, np.int64), "5 integers"),
        ("train_rgb_resized_label.npy", np.array([None] * 5), "no array"),  # a pickle, which is never loaded
    ],
)
def test_sysu_bad_arrays(tmp_path, file, array, message):
    arrays_only(tmp_path)
    np.save(tmp_path / file, array, allow_pickle=True)
    with pytest.raises(DatasetError, match=message):
        open_dataset("sysu", tmp_path)


def test_sysu_half_the_arrays(tmp_path):
    arrays_only(tmp_path)
    (tmp_path / "train_ir_resized_img.npy").unlink()
    with pytest.raises(DatasetError, match=r"train_ir_resized_img\.npy"):
        open_dataset("sysu", tmp_path)


def test_regdb_trials(tmp_path):
    trees.regdb(tmp_path)
    first, second = (open_dataset("regdb", tmp_path, trial=trial) for trial in (1, 2))
    assert (first.trial, second.trial) == (1, 2)
    assert set(first.train.files) == set(second.test.files)
    assert first.train.modalities.tolist() == [VISIBLE] * 4 + [INFRARED] * 4
    there, back = first.searches
    assert (there.name, back.name) == ("visible to thermal", "thermal to visible")
    assert (there.ignore, back.ignore) == ("nothing", "nothing")
    assert all("Visible" in first.test.files[row] for row in there.trials[0].query)
    assert all("Thermal" in first.test.files[row] for row in there.trials[0].gallery)
    assert (there.trials[0].query == back.trials[0].gallery).all()


@pytest.mark.parametrize("trial", [0, 11, -1])
def test_regdb_trials_go_from_1_to_10(tmp_path, trial):
    trees.regdb(tmp_path)
    with pytest.raises(DatasetError, match="1 to 10"):
        open_dataset("regdb", tmp_path, trial=trial)


def test_regdb_missing_lists_and_images(tmp_path):
    trees.regdb(tmp_path)
    with pytest.raises(DatasetError, match=r"idx/train_visible_3\.txt"):
        open_dataset("regdb", tmp_path, trial=3)
    lost = Path(open_dataset("regdb", tmp_path).test.files[0])
    lost.unlink()
    with pytest.raises(DatasetError, match=lost.name):
        open_dataset("regdb", tmp_path)


def test_regdb_person_in_both_halves(tmp_path):
    trees.regdb(tmp_path)
    train, test = tmp_path / "idx/train_visible_1.txt", tmp_path / "idx/test_visible_1.txt"
    test.write_text(test.read_text() + train.read_text().splitlines()[0] + "\n")
    with pytest.raises(DatasetError, match="both the training and the test"):
        open_dataset("regdb", tmp_path)


def test_regdb_lists_may_not_lead_out(tmp_path):
    trees.regdb(tmp_path / "regdb")
    trees.text(tmp_path / "regdb/idx/test_thermal_1.txt", "../outside.bmp 0\n")
    with pytest.raises(DatasetError, match="may not lead out"):
        open_dataset("regdb", tmp_path)
