"""From what was gathered to a page: each section is made here out of the measures of its own file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from duoreid.core.protocols import SearchResult
from duoreid.core.report import cameras, clusters, curves, heat, lists, mapping, similarities
from duoreid.core.report.atlas import Atlas
from duoreid.core.report.blocks import Block, Figures, Page, Section, Table, Text
from duoreid.core.report.draws import Draw, Scan, one_of_each, scan
from duoreid.core.report.gather import Material
from duoreid.core.report.records import differences
from duoreid.core.training.tables import spread_cell

COLUMNS = {"mAP": "mean_ap", "rank-1": "rank1", "rank-5": "rank5", "rank-10": "rank10", "mINP": "mean_inp"}
LOOKED_AT = 6
"""Queries whose activation maps are shown, of the hardest and of the best."""


def compose(material: Material) -> tuple[Page, Atlas]:
    """Return the page of a report, and the atlas of its pictures."""
    opened = material.opened
    atlas = Atlas(*(opened.test.shape[1:3] if opened else (96, 48)))
    sections = [*_of_records(material)]
    if opened is not None and material.features:
        sections += _of_features(material, atlas)
    order = ["results", "run", "curves", "lists", "similarities", "cameras", "map", "clusters", "maps"]
    sections.sort(key=lambda section: order.index(section.key))
    return Page(material.name, _subtitle(material), sections, _figures(material), _foot(material)), atlas


def _subtitle(material: Material) -> str:
    parts = []
    if material.records is not None:
        settings = material.records.settings
        parts.append(f"{settings.get('method')} · preset {settings.get('preset')}")
        parts.append("finished" if material.records.summary else "not finished: as far as it has come")
        parts.append(f"{material.records.seconds / 60:.0f} minutes")
    if material.opened is not None:
        dataset = material.opened.dataset
        rows = "images" if dataset.frames is None else "tracklets"
        parts.append(f"tested on {dataset.name}, {len(dataset.test):,} {rows}")
    return " · ".join(parts)


def _figures(material: Material) -> list[tuple[str, str]]:
    """Return the numbers at the top: of the network that is shown, in the first search of each direction."""
    if not material.results or material.opened is None:
        return []
    names = {search.name for search in one_of_each(material.opened.dataset)}
    chosen = [result for result in material.results[material.shown] if result.name in names]
    made = []
    for result in chosen:
        head = f", {result.name}" if len(chosen) > 1 else ""
        made += [
            (f"{100 * result.mean.mean_ap:.1f}%", f"mAP{head}"),
            (f"{100 * result.mean.rank1:.1f}%", f"rank-1{head}"),
        ]
    if len(chosen) == 1:
        made.append((f"{100 * chosen[0].mean.mean_inp:.1f}%", "mINP"))
    return made


def _foot(material: Material) -> str:
    parts = [material.about]
    if material.features and len(material.features) > 1:
        parts.append(f"lists, histograms, cameras and map are of {material.shown}")
    if material.records is not None:
        parts.append(f"made from {material.records.folder}")
    return " · ".join(part for part in parts if part)


# -- from the records -------------------------------------------------------------------------------------------


def _of_records(material: Material) -> Iterator[Section]:
    if material.results:
        yield _results(material)
    if material.records is None:
        return
    yield _run(material)
    figures = [*curves.scores(material.records), *curves.losses(material.records)]
    if figures:
        lead = "Scores should rise and then stay; losses should fall without leaps."
        yield Section("curves", "Curves", lead, [Figures(figures)])


def _results(material: Material) -> Section:
    rows, muted = [], set()
    for search in _searches(material):
        for network, results in material.results.items():
            result = next(one for one in results if one.name == search)
            rows.append([network, search, f"{len(result.trials)}", *_cells(result)])
        for source, numbers in material.published.get(search, {}).items():
            muted.add(len(rows))
            shown = [f"{number:.1f}" for number in numbers]
            rows.append([f"published, {source}", search, "", *shown, *[""] * (len(COLUMNS) - len(shown))])
    lead = "In %; mean and spread where the gallery is drawn several times."
    if not muted:
        lead += " No published result is of these settings."
    return Section(
        "results", "Results", lead, [Table(["network", "search", "draws", *COLUMNS], rows, muted=frozenset(muted))]
    )


def _searches(material: Material) -> list[str]:
    return list(dict.fromkeys(result.name for results in material.results.values() for result in results))


def _cells(result: SearchResult) -> list[str]:
    return [spread_cell(result, name) for name in COLUMNS.values()]


def _run(material: Material) -> Section:
    records = material.records
    blocks: list[Block] = []
    changed = differences(records.settings, material.preset)
    preset = records.settings.get("preset")
    if not material.preset:
        blocks.append(Text(f"The preset {preset!r} is not known to this version, so nothing can be compared with it."))
    elif changed:
        blocks.append(Table(["setting", "this run", f"preset {preset}"], changed, words=True))
    else:
        blocks.append(Text(f"Every setting is that of the preset {preset!r}."))
    backends = [event for event in records.events if event.get("event") == "run"]
    if backends:
        rows = [[str(one.get("backend")), str(one.get("about")), f"{one.get('processes', 1)}"] for one in backends]
        blocks.append(Table(["backend", "on", "processes"], rows, words=True))
    seconds = (records.summary or {}).get("stage_seconds", {})
    if seconds:
        whole = sum(seconds.values())
        rows = [[name, f"{value:.0f}", f"{100 * value / whole:.0f}%"] for name, value in seconds.items()]
        blocks.append(
            Table(["where the time went", "seconds", "share"], [*rows, ["whole run", f"{whole:.0f}", "100%"]])
        )
    return Section("run", "What was run", "Settings that differ from the preset, and on what it ran.", blocks)


# -- from the features ------------------------------------------------------------------------------------------


def _of_features(material: Material, atlas: Atlas) -> list[Section]:
    opened, features = material.opened, material.features[material.shown]
    dataset = opened.dataset
    draws = [Draw(features, dataset, search, search.trials[0]) for search in one_of_each(dataset)]
    scans = [scan(draw) for draw in draws]
    made = []
    if draws:
        scanned = list(zip(draws, scans, strict=True))
        made += [_lists(scanned, material, atlas), _similarities(scanned, material), _cameras(draws)]
        if material.find is not None:
            made.append(_maps(scanned, material, atlas))
    lead = "Each dot is a test image: which images the network holds for alike."
    blocks = [mapping.block(features, dataset.test, opened.test, atlas, material.seed, material.way)]
    made.append(Section("map", "Map of the features", lead, blocks))
    if material.labels is not None:
        made.append(_clusters(material, atlas))
    return made


def _lists(scanned: list[tuple[Draw, Scan]], material: Material, atlas: Atlas) -> Section:
    blocks: list[Block] = []
    for draw, one in scanned:
        blocks += lists.blocks(draw, one, material.opened.test, atlas, material.seed)
    lead = (
        "Each line is a query and its ten most similar gallery images. Green, with a tick: the same person; red, with "
        "a cross: somebody else. The number is the similarity. Images that the test ignores are left out."
    )
    return Section("lists", "Ranked lists", lead, blocks)


def _similarities(scanned: list[tuple[Draw, Scan]], material: Material) -> Section:
    figures = []
    for draw, one in scanned:
        figures += [similarities.figure(draw, one, material.threshold), similarities.places(draw, one)]
    blocks: list[Block] = [Figures(figures)]
    if material.threshold is None:
        blocks.append(
            Text("No threshold is drawn: none was calibrated for these networks. A similarity means nothing by itself.")
        )
    return Section("similarities", "Similarities", "How far the pairs of one person stand from those of two.", blocks)


def _cameras(draws: list[Draw]) -> Section:
    blocks: list[Block] = []
    for draw in draws:
        blocks += cameras.blocks(draw)
    lead = "The stronger the tint, the better. A weak row or column is a camera that the network does not cope with."
    return Section("cameras", "Camera by camera", lead, blocks)


def _maps(scanned: list[tuple[Draw, Scan]], material: Material, atlas: Atlas) -> Section:
    draw, one = scanned[0]
    people, groups = draw.identities[0], []
    for title, queries in (
        ("Hardest queries", lists.hardest(one, people, LOOKED_AT)),
        ("Best queries", lists.best(one, people, LOOKED_AT)),
    ):
        rows = draw.trial.query[queries]
        captions = [f"person {identity}" for identity in draw.dataset.test.identities[rows]]
        groups.append((title, material.opened.test[np.asarray(rows, np.int64)], captions))
    lead = "Activation maps of the last block, the mean over the embedding networks."
    return Section("maps", "Where the network looks", lead, [heat.block(groups, material.find, atlas)])


def _clusters(material: Material, atlas: Atlas) -> Section:
    opened = material.opened
    figures = curves.labels(material.records) if material.records is not None else []
    blocks = clusters.blocks(material.labels, opened.dataset.train, opened.train, atlas, figures)
    return Section("clusters", "Pseudo-labels", material.labels_words, blocks)
