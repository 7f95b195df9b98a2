"""What reads the docs must itself notice mistakes in them."""

import pytest

from tests.docs.blocks import ROOT, links, read
from tests.docs.names import paths, there
from tests.docs.test_docs import go_through
from tests.docs.test_references import says


def page_of(text, folder):
    path = folder / "page.md"
    path.write_text(text)
    return read(path)


def through(text, folder):
    printed, namespace = None, {}
    for block in page_of(text, folder).blocks:
        printed = go_through(block, folder, namespace, printed)


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        ("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n", r"printed:\n\s*2"),
        ("```python\nprint(2)\n```\nand\n```text\n2\n```\n", "directly behind"),
        ("<!-- parsed: why -->\n```sh\npython -m core.evaluate a.npz --rarank\n```\n", "not accepted"),
        ("<!-- parsed: why -->\n```sh\npython -m nobody.train\n```\n", "no module of this library"),
        ("<!-- parsed: why -->\n```sh\nmake trian\n```\n", "trian"),
        ("<!-- parsed: why -->\n```sh\npip install '.[tensorflow]'\n```\n", "known extras"),
        ("<!-- parsed: why -->\n```sh\npython -m pytest tests/nowhere\n```\n", "no tests/nowhere"),
        ("<!-- parsed:  -->\n```sh\nmake test\n```\n", "says why|unknown mark"),
        ("<!-- skipped -->\n```sh\nmake test\n```\n", "unknown mark"),
        ("<!-- run as: huge -->\n```sh\nmake test\n```\n", "unknown settings"),
        ("```sh\npython -m core.evaluate nowhere.npz\n```\n", "ended with 2"),
        ("<!-- refused -->\n```sh\nduoreid --version\n```\n", "ended with 0"),
        (
            "<!-- refused -->\n```sh\nduoreid trian\n```\n\n```text\nerror: no\n```\n",
            "printed:\n\\s*error: unknown command",
        ),
        ("<!-- file: a.toml -->\n```toml\nlost = 1\n```\n\n```sh\nduoreid train --config a.toml\n```\n", "'lost'"),
        ("<!-- parsed: why -->\n```sh\nmake format\n```\n", "starts no command"),
        ("```fortran\nEND\n```\n", "unknown language"),
    ],
)
def test_a_mistake_on_a_page_is_noticed(tmp_path, text, needle):
    with pytest.raises(AssertionError, match=needle):
        through(text, tmp_path)


def test_a_wrong_link_path_or_anchor_is_noticed(tmp_path):
    page = page_of("# One, two\n\n[a](page.md#one-two) [b](page.md#three) [c](none.md) see core/none.py\n", tmp_path)
    assert [target for _, target in links(page)] == ["page.md#one-two", "page.md#three", "none.md"]
    assert page.anchors() == {"one-two"}
    assert paths("see core/none.py, backends/*/losses.py and (core/data.py)") == [
        "core/none.py",
        "backends/*/losses.py",
        "core/data.py",
    ]
    assert there("backends/*/losses.py", ROOT)
    assert there("core/{data,errors}.py", ROOT)
    assert not there("core/{data,none}.py", ROOT)


@pytest.mark.parametrize(
    ("cell", "value", "same"),
    [
        ("3.5e-4", 0.00035, True),
        ("3.5e-4", 0.0003, False),
        ("on", True, True),
        ("on", False, False),
        ("40 70", (40, 70), True),
        ("40", (40, 70), False),
        ("none", "", True),
        ("last", "test", False),
    ],
)
def test_a_cell_says_one_value(cell, value, same):
    assert says(cell, value) is same
