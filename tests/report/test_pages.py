"""The page of a report: what it holds, that it needs no network, that names cannot break it; the records behind it."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from duoreid.core.errors import UserError
from duoreid.core.report import charts, curves, page, records, sections
from duoreid.core.report.atlas import Atlas
from duoreid.core.report.blocks import Page, Picture, Section, Strip, Strips, Table
from tests.report.examples import Pictures, events, material

pytest.importorskip("jinja2")


class Reader(HTMLParser):
    """Collects open tags; fails on one that is closed and was not opened."""

    VOID = frozenset({"meta", "br", "img", "line", "path", "circle", "rect", "polygon"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


@pytest.fixture(scope="module", params=[False, True], ids=["one kind", "across kinds"])
def html(request):
    return page.render(*sections.compose(material(across=request.param)))


def test_every_section_is_there_and_folds(html):
    folds = [attributes["id"] for tag, attributes in read(html).seen if tag == "details"]
    assert folds == ["results", "run", "curves", "lists", "similarities", "cameras", "map", "clusters", "maps"]


def test_the_page_needs_no_network(html):
    assert not re.findall(r"(?:src|href)\s*=", html)
    assert not re.findall(r"https?://", html)
    assert set(re.findall(r"url\((.{10})", html)) == {"data:image"}


def test_what_stands_on_the_page(html):
    assert "published, the paper" in html
    assert "71.2" in html
    assert re.search(r"<td>run.seed</td>\s*<td>7</td>\s*<td>1</td>", html)
    assert "threshold 0.500" in html
    assert "Largest wrong merges" in html
    assert "Worst: from camera" in html
    assert 'name="viewport"' in html
    assert "prefers-color-scheme:dark" in html


def test_across_kinds_both_are_named():
    html = page.render(*sections.compose(material(across=True)))
    assert "visible to thermal: Hardest queries first" in html
    assert "thermal to visible: Hardest queries first" in html
    assert "infrared" in html


def test_without_a_calibration_the_page_says_so():
    html = page.render(*sections.compose(replace(material(), threshold=None)))
    assert "No threshold is drawn" in html
    assert "threshold 0." not in html


def test_without_a_network_the_records_are_a_page():
    known = material()
    made, atlas = sections.compose(replace(known, opened=None, features={}, results={}, labels=None, find=None))
    assert [section.key for section in made.sections] == ["run", "curves"]
    assert len(atlas) == 0
    read(page.render(made, atlas))


def test_names_of_files_cannot_break_the_page():
    evil = "\"><script>alert('x')</script>"
    atlas = Atlas(32, 16)
    strip = Strip(evil, evil, [Picture(atlas.add(Pictures(3), [1])[0], evil, "", evil)])
    made = Page(evil, evil, [Section("a", evil, evil, [Table([evil], [[evil]]), Strips(evil, evil, [strip])])])
    html = page.render(made, atlas)
    assert "<script>alert" not in html
    assert sum(tag == "script" for tag, _ in read(html).seen) == 1
    assert "<script>" not in charts.bars([evil], [1.0], evil, evil)


def test_a_page_without_jinja2_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UserError, match=r"pip install 'duoreid\[report\]'"):
        page.require()


def test_an_atlas_stores_each_picture_once():
    images, atlas = Pictures(50, 64, 32), Atlas(64, 32)
    assert atlas.add(images, [4, 9, 4]) == [0, 1, 0]
    assert atlas.add_array(np.zeros((10, 40, 3), np.uint8)) == 2  # wider than the others: a margin above and below
    packed = atlas.pack()
    assert (packed.columns, packed.rows) == (3, 1)
    assert images.asked == 2


def test_an_atlas_of_noise_can_be_written():
    atlas = Atlas(64, 32)
    for picture in np.random.default_rng(1).integers(0, 255, (200, 64, 32, 3), np.uint8):
        atlas.add_array(picture)
    assert len(atlas.pack().uri) > 100_000


def test_scores_begin_where_the_network_of_stage_1_stands(tmp_path):
    known = records.Records(tmp_path, {}, events(), None)
    tests = curves._tests(known)
    assert [(name, epoch, round(event["mean_ap"], 6)) for _, name, epoch, event in tests if name == "teacher 2"] == [
        ("teacher 2", 0, 0.32),
        ("teacher 2", 1, 0.42),
        ("teacher 2", 2, 0.52),
    ]
    assert [figure.title for figure in curves.scores(known)] == ["mAP", "rank-1"]
    assert [figure.title for figure in curves.losses(known)][-1] == "Losses, mmt"
    assert [figure.title for figure in curves.labels(known)] == ["Agreement", "Clusters and outliers"]


def test_losses_between_the_epochs_are_drawn_where_there_are_any(tmp_path):
    lines = [
        {"event": "losses", "stage": "mmt", "epoch": epoch, "step": step, "losses": {"total": 1.0}}
        for epoch in (0, 1)
        for step in (2, 4)
    ]
    known = records.Records(tmp_path, {}, events() + lines, None)
    assert curves.losses(known)[-1].svg.count("<circle") == 4
    assert "1.5" in curves.losses(known)[-1].svg  # epoch 1, half way


def test_the_records_of_a_killed_run_are_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"method": "mmt"}))
    lines = [json.dumps(event) for event in events()]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"event": "ep']))
    assert len(records.read(tmp_path).events) == len(events())
    (tmp_path / "metrics.jsonl").write_text("\n".join(['{"event": "ep', *lines]))
    with pytest.raises(UserError, match=r"metrics.jsonl, line 1, is no JSON"):
        records.read(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError, match="settings by name, but holds a list"):
        records.read(tmp_path)
    with pytest.raises(UserError, match="is no run's folder"):
        records.read(tmp_path / "elsewhere")


def test_places_of_files_are_no_difference():
    here = {"data": {"data": "/a"}, "run": {"output": "b", "seed": 1}, "pretrain": {"milestones": [6]}}
    there = {"data": {"data": "data"}, "run": {"output": "", "seed": 1}, "pretrain": {"milestones": (6,)}}
    assert records.differences(here, there) == []
    here["pretrain"]["milestones"] = []
    assert records.differences(here, there) == [("pretrain.milestones", "none", "6")]


def test_a_chart_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one finite value"):
        charts.lines([charts.Line("loss", [1], [float("nan")])], "epoch", "loss")
