"""A user's own images: trees and CSV files."""

import unicodedata

import numpy as np
import pytest

from duoreid.core.data import INFRARED, VISIBLE, Search, Split, Trial
from duoreid.core.protocols import require_matches
from duoreid.datasets import open_dataset
from duoreid.datasets.copies import check_copies
from duoreid.datasets.csv_index import SPLITS
from duoreid.datasets.doctor import examine, report, verdict
from duoreid.datasets.errors import DatasetError
from duoreid.datasets.listing import list_pictures
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


def own(root, cameras=("c0", "c1"), gallery_camera="c1"):
    """Four people in training and three in the test, by the cameras given ("" for none)."""
    for person in range(4):
        for camera in cameras:
            trees.image(root / "train" / f"{person:03d}" / camera / f"{camera}-{person}.png")
    for person in range(10, 13):
        trees.image(root / "query" / str(person) / cameras[0] / "q.png")
        trees.image(root / "gallery" / str(person) / gallery_camera / "g.png")
    return root


def told(data, word):
    return [remark for remark in data.remarks if word in remark]


def test_pictures_of_other_formats_and_deeper_ones_are_read_or_counted(tmp_path):
    own(tmp_path)
    for person in range(4):
        for number in range(6):
            (tmp_path / f"train/{person:03d}/c0/more{number}.jfif").write_bytes(b"x")
        trees.image(tmp_path / f"train/{person:03d}/c1/session2/deep.png")
        (tmp_path / f"train/{person:03d}/c1/phone.heic").write_bytes(b"x")
    data = open_dataset("folder", tmp_path)
    assert len(data.train) == 8 + 24 + 4
    deep = next(row for row, file in enumerate(data.train.files) if file.endswith("000/c1/session2/deep.png"))
    assert (data.train.identities[deep], data.train.cameras[deep]) == (0, 1)
    (remark,) = told(data, "formats that are not read")
    assert remark.startswith("4 pictures")
    assert "phone.heic" in remark


def test_a_test_picture_that_is_left_out_makes_the_copy_unfit(tmp_path):
    own(tmp_path)
    (tmp_path / "train/000/c0/x.heic").write_bytes(b"x")
    assert examine("folder", str(tmp_path), progress=False).fit
    (tmp_path / "gallery/10/c1/x.heic").write_bytes(b"x")
    diagnosis = examine("folder", str(tmp_path), progress=False)
    (problem,) = [one for one in diagnosis.problems if one.fatal]
    assert "in query and gallery: 1 pictures of formats that are not read" in problem.text
    assert told(open_dataset("folder", tmp_path), "in query and gallery")  # a run says it and goes on


def test_pictures_directly_in_the_gallery_are_nobodys_match(tmp_path):
    own(tmp_path)
    for number in range(5):
        trees.image(tmp_path / f"gallery/{number}.png")
    data = open_dataset("folder", tmp_path)
    trial = data.searches[0].trials[0]
    assert sorted(data.test.identities[trial.gallery].tolist()) == [-1] * 5 + [10, 11, 12]
    assert data.searches[0].ignore == "same-camera"  # what is nobody's match needs no camera
    assert verdict(examine("folder", str(tmp_path), progress=False)).startswith("fit")


def test_queries_directly_in_their_folder_are_told_apart_by_a_pattern_alone(tmp_path):
    for split, camera in (("query", 1), ("gallery", 2)):
        for person in (7, 8):
            trees.image(tmp_path / split / f"{person:04d}_c{camera}_20200101.png")
    trees.image(tmp_path / "train/x_c3.png")
    assert open_dataset("folder", tmp_path).searches == ()
    data = open_dataset("folder", tmp_path, pattern=r"(?P<identity>\d+|x)_c(?P<camera>\d+)")
    (search,) = data.searches
    assert (search.ignore, len(search.trials[0].query)) == ("same-camera", 2)
    assert data.test.cameras.tolist() == [1, 1, 2, 2]
    assert len(set(data.train.identities.tolist()) & set(data.test.identities.tolist())) == 0


def test_a_camera_that_the_name_tells_goes_before_the_folders(tmp_path):
    for split, camera in (("train", 1), ("query", 1), ("gallery", 2)):
        trees.image(tmp_path / split / "ann" / "monday" / f"a_c{camera}s1.png")
    assert open_dataset("folder", tmp_path).test.cameras.tolist() == [0, 0]  # "monday" taken for a camera
    data = open_dataset("folder", tmp_path, pattern=r"_c(?P<camera>\d)s")
    assert (data.test.cameras.tolist(), data.test.identities.tolist()) == ([1, 2], [0, 0])


def test_a_pattern_that_fits_some_or_none(tmp_path):
    own(tmp_path, cameras=("",), gallery_camera="")
    trees.image(tmp_path / "train/000/strange.png")
    with pytest.raises(DatasetError, match="do not match the pattern"):
        open_dataset("folder", tmp_path, pattern=r"cam(?P<camera>\d)")
    data = open_dataset("folder", tmp_path, pattern=r"/(?P<camera>q|g|-)[^/]*$")
    assert told(data, "1 of 11 paths do not match")
    with pytest.raises(ValueError, match="pictures of your own"):
        open_dataset("market1501", trees.market(tmp_path / "m"), pattern="(?P<camera>x)")


def test_without_cameras_every_table_says_that_own_camera_matches_count(tmp_path):
    for split in ("train", "query", "gallery"):
        for person in (1, 2):
            trees.image(tmp_path / split / f"{person:04d}" / f"{person:04d}_c1s1_{split}.png")
    data = open_dataset("folder", tmp_path)
    (search,) = data.searches
    assert search.ignore == "nothing"
    assert "own camera count" in search.remark
    assert r"--camera-pattern 'c(?:am)?(?P<camera>\d+)'" in told(data, "no camera is known")[0]
    assert "own camera count" in report(examine("folder", str(tmp_path), progress=False))


def test_one_camera_is_told_with_its_reason_and_remedies(tmp_path):
    data = open_dataset("folder", own(tmp_path, gallery_camera="c0"))
    with pytest.raises(ValueError, match=r"own camera alone(.|\n)*leave the cameras(.|\n)*out"):
        require_matches(data)
    text = report(examine("folder", str(tmp_path), progress=False))
    assert "own camera" in text
    assert "NOT FIT" in text


@pytest.mark.parametrize("form", ["tree", "csv", "other people"])
def test_copies_of_a_query_in_the_gallery_are_refused(tmp_path, form):
    for person in ("10", "11"):
        trees.image(tmp_path / "query" / person / "q.png")
        trees.image(tmp_path / "gallery" / person / "g.png")
    copy = tmp_path / "gallery" / ("11" if form == "other people" else "10") / "copy.png"
    copy.write_bytes((tmp_path / "query/10/q.png").read_bytes())
    if form == "csv":
        rows = [f"{split}/{person}/{split[0]}.png,{person},{split}" for split in SPLITS[1:] for person in ("10", "11")]
        trees.text(tmp_path / "i.csv", "\n".join(["path,identity,split", *rows, "gallery/10/copy.png,10,gallery"]))
    with pytest.raises(DatasetError, match=r"1 query images are in the gallery too(.|\n)*q\.png = .*copy\.png"):
        open_dataset("folder", tmp_path)
    assert verdict(examine("folder", str(tmp_path), progress=False)).startswith("NOT")


def test_a_copy_by_the_querys_own_camera_does_no_harm(tmp_path):
    own(tmp_path)
    target = tmp_path / "gallery/10/c0/copy.png"
    target.parent.mkdir()
    target.write_bytes((tmp_path / "query/10/c0/q.png").read_bytes())
    assert len(open_dataset("folder", tmp_path).searches[0].trials[0].gallery) == 4
    target.rename(trees.image(tmp_path / "gallery/10/c2/copy.png"))
    with pytest.raises(DatasetError, match="find itself"):
        open_dataset("folder", tmp_path)


def test_files_of_one_size_that_differ_late_are_no_copies(tmp_path):
    start = bytes(5000)
    files = {name: tmp_path / name for name in ("query", "same", "late", "early")}
    for name, end in (("query", b"a"), ("same", b"a"), ("late", b"b")):
        files[name].write_bytes(start + end)
    files["early"].write_bytes(b"b" + bytes(5000))
    count = np.zeros(4, np.int32)
    test = Split(tuple(map(str, files.values())), count, count, count.astype(np.uint8))
    search = Search("test", (Trial(np.array([0]), np.arange(1, 4)),), "nothing")
    (problem,) = check_copies(test, search)
    assert problem.examples == (f"{files['query']} = {files['same']}",)


@pytest.mark.parametrize(
    ("on_disk", "listed_as", "guess"),
    [
        ("a{}.png", "a{}.PNG", "capital and small letters"),
        ("images/a{}.png", "old/a{}.png", "was the folder moved"),
        (unicodedata.normalize("NFD", "Zoë{}.png"), unicodedata.normalize("NFC", "Zoë{}.png"), "form of Unicode"),
        ("a{}.png", "nowhere/b{}.png", "there is no folder"),
    ],
)
def test_a_csv_that_misses_is_told_what_lies_there_instead(tmp_path, on_disk, listed_as, guess):
    for number in range(8):
        trees.image(tmp_path / on_disk.format(number))
    lines = ["path,identity", *(f"{listed_as.format(number)},{number % 2}" for number in range(8))]
    (tmp_path / "index.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DatasetError) as error:
        open_dataset("folder", tmp_path)
    assert "8 images that index.csv lists are missing" in str(error.value)
    assert guess in str(error.value)
    assert listed_as.format(0) in str(error.value)


def test_metadata_of_wildlife(tmp_path):
    header = "image_id,path,identity,date,orientation,species"
    rows = ("1,i1.png,Ann,2020-01-02,left,tiger", "2,i2.png,unknown,,right,tiger", "3,i3.png,Bob,,left,tiger")
    for number in (1, 2, 3):
        trees.image(tmp_path / f"i{number}.png")
    trees.text(tmp_path / "metadata.csv", "\n".join([header, *rows]))
    data = open_dataset("folder", tmp_path)
    assert data.train.identities.tolist() == [0, -1, 1]
    assert told(data, "mean nothing here are passed over: image_id, orientation, species")
    assert list_pictures(tmp_path).times == ("2020-01-02", None, None)


def test_a_root_without_splits_is_a_heap_of_unknown_people(tmp_path):
    for name in ("cam1/a.png", "cam1/b.png", "cam2/deep/c.png", "d.png"):
        trees.image(tmp_path / name)
    data = open_dataset("folder", tmp_path)
    assert data.train.identities.tolist() == [-1] * 4
    assert told(data, "no folder train, query or gallery")
    seen = open_dataset("folder", tmp_path, pattern=r"cam(?P<camera>\d)/")
    assert seen.train.cameras.tolist() == [-1, 1, 1, 2]


def test_what_lies_beside_the_splits_is_counted_but_not_runs_and_caches(tmp_path):
    own(tmp_path)
    trees.image(tmp_path / "more/1/x.png")
    trees.image(tmp_path / "y.png")
    trees.image(tmp_path / "run/report.png")
    for name in ("run/config.json", "run/metrics.jsonl", "cache/key/about.json", "cache/key/images.npy"):
        trees.text(tmp_path / name, "")
    (remark,) = told(open_dataset("folder", tmp_path), "beside the folders of the splits")
    assert remark.startswith("2 pictures")


def test_minus_one_and_unknown_are_nobody_in_folders_too(tmp_path):
    own(tmp_path)
    for name in ("-1", "unknown"):
        trees.image(tmp_path / "gallery" / name / "c1" / "x.png")
        trees.image(tmp_path / "train" / name / "x.png")
    data = open_dataset("folder", tmp_path)
    assert sorted(data.test.identities.tolist()) == [-1, -1, 10, 10, 11, 11, 12, 12]
    assert (data.train.identities == -1).sum() == 2
