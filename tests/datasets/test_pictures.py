import numpy as np
import pytest
from PIL import Image

from duoreid.core.data import Trial
from duoreid.core.errors import UserError
from duoreid.datasets import open_dataset, pictures
from tests.runs import small_data

TRIAL = Trial(np.array([0]), np.array([1, 2, 3]))
FILES = ("q", "a", "b", "c")


def arrays(**more):
    """One query of person 1 in camera 3; the gallery, from near to far: person 1, person 2, person 1."""
    return {
        "query": np.array([[2.0, 0.0]]),
        "gallery": np.array([[1.0, 0.0], [4.0, 3.0], [3.0, 4.0]]),
        "query_ids": np.array([1]),
        "gallery_ids": np.array([1, 2, 1]),
        "query_cameras": np.array([3]),
        "gallery_cameras": np.array([3, 2, 2]),
        **more,
    }


def files(*rules, depth=10):
    (line,) = pictures.ranked_lists(arrays(**dict(rules)), TRIAL, FILES, queries=1, depth=depth)
    return [(one.file, one.same) for one in line]


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ("same-camera", [("b", False), ("c", True)]),
        ("same-place", [("a", True)]),
        ("nothing", [("a", True), ("b", False), ("c", True)]),
    ],
)
def test_a_line_is_the_query_and_then_what_its_search_lets_it_see(rule, left):
    assert files(("ignore", np.array(rule))) == [("q", None), *left]


def test_without_a_rule_the_own_camera_is_ignored_and_lines_end_at_their_depth():
    assert files(depth=1) == [("q", None), ("b", False)]


def test_captions_say_similarity_and_camera():
    ((query, first, _),) = pictures.ranked_lists(arrays(), TRIAL, FILES, queries=1)
    assert (query.caption, first.caption) == ("query, cam 3", "0.80  cam 2")


def test_features_of_another_draw_are_refused():
    with pytest.raises(UserError, match=r"of 3 gallery images.*has 2"):
        pictures.ranked_lists(arrays(), Trial(TRIAL.query, TRIAL.gallery[:2]), FILES)


def saved(folder):
    """Random features of the tiny synthetic-b, as evaluate saves them."""
    dataset = open_dataset("synthetic-b", small_data())
    trial, features = dataset.searches[0].trials[0], np.random.default_rng(0).standard_normal((len(dataset.test), 8))
    file = folder / "features.npz"
    columns = {"ids": dataset.test.identities, "cameras": dataset.test.cameras}
    parts = {"query": trial.query, "gallery": trial.gallery}
    contents = {name: features[rows] for name, rows in parts.items()}
    contents |= {f"{name}_{what}": column[rows] for name, rows in parts.items() for what, column in columns.items()}
    np.savez(file, **contents)
    return file


def test_the_command_writes_a_picture_with_a_line_for_each_query(tmp_path, capsys):
    output = tmp_path / "new" / "ranked.png"
    words = ["--dataset", "synthetic-b", "--data", str(small_data()), "--output", str(output)]
    sizes = {}
    for queries, depth in ((1, 3), (2, 3), (2, 4)):
        given = [str(saved(tmp_path)), *words, "--queries", str(queries), "--depth", str(depth)]
        assert pictures.main(given) == 0
        with Image.open(output) as picture:
            sizes[queries, depth] = picture.size
            drawn = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert capsys.readouterr().out.splitlines()[-1] == str(output)
    assert sizes[2, 3][1] > sizes[1, 3][1]
    assert sizes[2, 4][0] > sizes[2, 3][0]
    assert any(np.abs(np.subtract(colour, pictures.OTHER)).max() < 12 for colour in drawn)


@pytest.mark.parametrize(
    ("more", "needle"),
    [
        (["--search", "indoor"], "unknown search"),
        (["--draw", "2"], "--draw 2"),
        (["--queries", "0"], "at least 1"),
        (["--data", "nowhere"], "nowhere"),
        (["--dataset", "nobody"], "unknown dataset"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(tmp_path, capsys, more, needle):
    words = [str(saved(tmp_path)), "--dataset", "synthetic-b", "--data", str(small_data())]
    assert pictures.main([*words, *more]) == 2
    assert needle in capsys.readouterr().err


def test_a_file_that_is_none_is_told(tmp_path, capsys):
    words = ["--dataset", "synthetic-b", "--data", str(small_data())]
    assert pictures.main([str(tmp_path / "none.npz"), *words]) == 2
    assert "none.npz" in capsys.readouterr().err
