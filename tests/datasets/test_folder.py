"""A user's own images: trees and CSV files."""

import pytest

from duoreid.core.data import INFRARED, VISIBLE
from duoreid.datasets import open_dataset
from duoreid.datasets.errors import DatasetError
from tests.datasets import trees


def listed(root, *rows, header="path,identity,camera,split,modality"):
    for row in rows:
        path = row.split(",")[0]
        if path.startswith("i"):
            trees.image(root / path)
    return trees.text(root / "index.csv", "\n".join([header, *rows]) + "\n")


FULL = (
    "i1.png,ann,door,train,visible",
    "i2.png,ann,hall,train,infrared",
    "i3.png,bob,door,query,infrared",
    "i4.png,bob,hall,gallery,visible",
    "i5.png,,hall,gallery,visible",
)


def test_tree(tmp_path):
    data = open_dataset("folder", trees.folder(tmp_path))
    assert data.train.identities.tolist() == [0, 0, 1, 1]
    assert data.train.cameras.tolist() == [0, 1, 0, 1]
    assert data.test.identities.tolist() == [2, 2, 3, 3] * 2
    (search,) = data.searches
    assert (search.ignore, search.trials[0].query.tolist()) == ("same-camera", [0, 1, 2, 3])


def test_tree_keeps_numbers_and_does_without_cameras(tmp_path):
    for split in ("train", "query", "gallery"):
        trees.image(tmp_path / split / "0042" / f"{split}.jpg")
        trees.image(tmp_path / split / "7" / f"{split}.jpg")
    data = open_dataset("folder", tmp_path)
    assert data.train.identities.tolist() == [42, 7]
    assert (data.train.cameras == -1).all()
    assert data.searches[0].ignore == "nothing"


def test_numbers_that_would_fall_together_are_kept_apart(tmp_path):
    for name in ("1", "01", "9" * 200):
        trees.image(tmp_path / "train" / name / "x.png")
    assert sorted(open_dataset("folder", tmp_path).train.identities.tolist()) == [0, 1, 2]


@pytest.mark.parametrize("place", ["", "train", "unlabelled", "unlabeled", "unlabelled/cam1"])
def test_unlabelled_images_are_trained_on_but_not_tested(tmp_path, place):
    for number in range(3):
        trees.image(tmp_path / place / f"{number}.jpg")
    data = open_dataset("folder", tmp_path)
    assert data.train.identities.tolist() == [-1] * 3
    assert (data.searches, len(data.test)) == ((), 0)
    assert data.train.cameras.tolist() == [0 if "/" in place else -1] * 3


def test_unlabelled_training_beside_a_labelled_test(tmp_path):
    trees.image(tmp_path / "unlabelled/x.jpg")
    trees.image(tmp_path / "query/ann/a/1.jpg")
    trees.image(tmp_path / "gallery/ann/b/2.jpg")
    data = open_dataset("folder", tmp_path)
    assert data.train.identities.tolist() == [-1]
    assert len(data.searches) == 1


def test_csv(tmp_path):
    data = open_dataset("folder", listed(tmp_path, *FULL).parent)
    assert data.train.modalities.tolist() == [VISIBLE, INFRARED]
    assert data.train.identities.tolist() == [0, 0]
    assert data.test.identities.tolist() == [1, 1, -1]
    assert data.test.cameras.tolist() == [0, 1, 1]
    (search,) = data.searches
    assert search.trials[0].gallery.tolist() == [1, 2]
    again = open_dataset("folder", tmp_path / "index.csv")
    assert (again.train.files, again.test.files) == (data.train.files, data.test.files)


def test_csv_needs_only_paths(tmp_path):
    data = open_dataset("folder", listed(tmp_path, "i1.png", "i2.png", header="path").parent)
    assert data.train.identities.tolist() == [-1, -1]
    assert data.searches == ()


def test_queries_without_identity_are_not_asked(tmp_path):
    rows = (*FULL, "i6.png,,door,query,visible")
    data = open_dataset("folder", listed(tmp_path, *rows).parent)
    assert len(data.searches[0].trials[0].query) == 1
    nobody = [row.replace("bob", "") for row in FULL]
    assert open_dataset("folder", listed(tmp_path, *nobody).parent).searches == ()


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (("i1.png,a",), "file,identity", "path"),
        (("i1.png,a",), "path,identiy", "'identity'"),
        (("i1.png,a",), "path,path", "twice"),
        (("i1.png,a,b",), "path,identity", "fields"),
        (("i1.png",), "path,identity", "fields"),
        (("i1.png,tain",), "path,split", "'train'"),
        (("i1.png,thermal",), "path,modality", "infrared"),
        (("../x.png,a",), "path,identity", "line 2"),
        (("/etc/x.png,a",), "path,identity", "may not lead out"),
        ((",a",), "path,identity", "may not lead out"),
        (("i1.png,a", "gone.png,b"), "path,identity", r"gone\.png"),
        (("gone.png,b",), "path,identity", "index.csv lists are missing"),
        (("i1.png,a", "i1.png,a"), "path,identity", "twice in one split"),
        (("i1.png,a,train", "i1.png,a,query", "i2.png,a,gallery"), "path,identity,split", "training and test"),
        (("i1.png,a,query", "i1.png,a,gallery"), "path,identity,split", "find itself"),
        (("i1.png,a,query",), "path,identity,split", "no gallery"),
        (("i1.png,a,gallery",), "path,identity,split", "no query"),
        (("i1.png,a,1,query", "i2.png,a,,gallery"), "path,identity,camera,split", "no camera"),
        ((), "", "empty|header"),
    ],
)
def test_bad_csv(tmp_path, rows, header, message):
    listed(tmp_path, *rows, header=header)
    with pytest.raises(ValueError, match=message):
        open_dataset("folder", tmp_path)


def test_csv_in_another_encoding_and_two_of_them(tmp_path):
    (tmp_path / "index.csv").write_bytes("path\nmüller.png\n".encode("latin-1"))
    with pytest.raises(DatasetError, match="UTF-8"):
        open_dataset("folder", tmp_path)
    trees.text(tmp_path / "other.csv", "path\n")
    with pytest.raises(DatasetError, match="several"):
        open_dataset("folder", tmp_path)


def test_other_trees_are_drawn(tmp_path):
    with pytest.raises(DatasetError, match="expected one of"):
        open_dataset("folder", tmp_path)
    with pytest.raises(DatasetError, match="does not exist"):
        open_dataset("folder", tmp_path / "none")


def test_a_link_to_the_parent_does_not_lead_round(tmp_path):
    trees.folder(tmp_path)
    (tmp_path / "train/ann/round").symlink_to(tmp_path)
    assert len(open_dataset("folder", tmp_path).train) == 4


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_csv_of_any_system(tmp_path, ending, mark):
    file = listed(tmp_path, *FULL)
    file.write_bytes(mark + file.read_text().replace("\n", ending).encode())
    data = open_dataset("folder", tmp_path)
    assert (len(data.train), len(data.test)) == (2, 3)


def test_csv_identities_of_any_length_are_told_apart(tmp_path):
    people = ("9" * 5000, "9" * 4999, "7")
    rows = [f"i{index}.png,{person}" for index, person in enumerate(people)]
    data = open_dataset("folder", listed(tmp_path, *rows, header="path,identity").parent)
    assert sorted(data.train.identities.tolist()) == [0, 1, 2]
