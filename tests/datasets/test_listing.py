"""Pictures of any folder, CSV file or list, with an account of what is left out."""

import doctest
import importlib

import pytest

from duoreid.datasets.decode import ImageError
from duoreid.datasets.errors import DatasetError
from duoreid.datasets.files import images
from duoreid.datasets.listing import list_pictures
from duoreid.datasets.walking import NO_PICTURE, NOWHERE, ROUND, UNREAD
from tests.datasets import trees


def test_a_folder_at_any_depth(tmp_path):
    for name in ("b.png", "a.JPG", "in/c.gif", "in/deeper/down/d.bmp", ".hidden/e.png"):
        trees.image(tmp_path / name)
    trees.text(tmp_path / "in/notes.txt", "hello")
    trees.text(tmp_path / "in/x.heic", "")
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "in/round").symlink_to(tmp_path)
    pictures = list_pictures(tmp_path)
    assert [file.removeprefix(f"{tmp_path}/") for file in pictures.files] == [
        "a.JPG",
        "b.png",
        "in/c.gif",
        "in/deeper/down/d.bmp",
    ]
    assert set(pictures.identities) | set(pictures.cameras) | set(pictures.times) == {None}
    counts = {reason: len(files) for reason, files in pictures.left_out.items()}
    assert counts == {UNREAD: 1, NO_PICTURE: 1, NOWHERE: 1, ROUND: 1}
    assert "1 of a format that is not read (e.g. x.heic)" in pictures.told()
    assert pictures.open(0).size == (8, 16)


def test_what_names_tell(tmp_path):
    for name in ("0002_c1_20200101.png", "0002_c3_20200102.png"):
        trees.image(tmp_path / "monday" / name)
    pictures = list_pictures(tmp_path, pattern=r"(?P<identity>\d+)_c(?P<camera>\d+)_(?P<time>\d+)")
    assert (pictures.identities, pictures.cameras) == (("0002", "0002"), ("1", "3"))
    assert pictures.times == ("20200101", "20200102")
    with pytest.raises(DatasetError, match="2 of 2 paths do not match"):
        list_pictures(tmp_path, pattern="(?P<camera>x)")
    with pytest.raises(ValueError, match="no regular expression"):
        list_pictures(tmp_path, pattern="(?P<camera>")
    with pytest.raises(ValueError, match="no named group"):
        list_pictures(tmp_path, pattern="c1")
    with pytest.raises(ValueError, match="the group 'cam'"):
        list_pictures(tmp_path, pattern="(?P<cam>x)")


def test_trees_lists_and_single_files(tmp_path):
    trees.folder(tmp_path / "tree")
    one = trees.image(tmp_path / "one.bin.png")
    one = one.rename(tmp_path / "one.bin")  # whatever its suffix
    pictures = list_pictures([tmp_path / "tree", str(one), one])
    assert len(pictures) == 13
    assert (pictures.identities[0], pictures.cameras[0], pictures.splits[0]) == ("ann", "door", "train")
    assert (pictures.files[-1], pictures.identities[-1]) == (str(one), None)
    index = trees.text(tmp_path / "index.csv", "path,identity,camera,time\none.bin,7,-1,noon\n")
    told = list_pictures(index)
    assert (told.identities, told.cameras, told.times) == (("7",), (None,), ("noon",))


def test_nothing_and_broken_ones(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        list_pictures(tmp_path / "none")
    with pytest.raises(DatasetError, match="holds no image"):
        list_pictures(tmp_path)
    with pytest.raises(DatasetError, match="empty list"):
        list_pictures([])
    with pytest.raises(DatasetError, match=r"gone\.png"):
        list_pictures(trees.text(tmp_path / "index.csv", "path\ngone.png\n"))
    with pytest.raises(ImageError):
        list_pictures(trees.text(tmp_path / "x.png", "hello")).open(0)


@pytest.mark.parametrize("name", ["csv_index", "decode", "folder", "listing", "naming", "opening", "walking"])
def test_examples_print_what_they_say(name):
    module = importlib.import_module(f"duoreid.datasets.{name}")
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert not result.failed


def test_a_hidden_folder_beside_pictures_is_no_entry_to_speak_of(tmp_path):
    """A gallery keeps its features in one, and may stand in a folder of test images."""
    problems = []
    (tmp_path / ".duoreid").mkdir()
    (tmp_path / "notes").mkdir()
    list(images(tmp_path, problems))
    assert [problem.examples for problem in problems] == [(str(tmp_path / "notes"),)]
