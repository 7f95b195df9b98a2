"""The curves of a run: losses, scores and pseudo-labels over its epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from duoreid.core.report.blocks import Figure
from duoreid.core.report.charts import COLOURS, Line, lines
from duoreid.core.report.records import Records

AGREEMENT = {
    "adjusted_rand": "adjusted Rand index",
    "mutual_information": "mutual information",
    "purity": "purity",
    "precision": "precision of pairs",
    "recall": "recall of pairs",
}
"""Facts of a labelling between 0 and 1, and their names."""

SCORES = {"mean_ap": "mAP", "rank1": "rank-1"}


def losses(records: Records) -> list[Figure]:
    """Return a chart of the losses of each stage; networks that are trained one after the other have one each."""
    return [_losses(records, stage, epochs) for stage, epochs in records.epochs().items()]


def _losses(records: Records, stage: str, epochs: Sequence[dict[str, Any]]) -> Figure:
    names = list(dict.fromkeys(name for epoch in epochs for name in epoch["losses"]))[:COLOURS]
    steps = records.steps(stage)
    curves = []
    for colour, name in enumerate(names, 1):
        if steps:
            longest = max(step["step"] for step in steps)
            known = [step for step in steps if name in step["losses"]]
            xs = [step.get("epoch", 0) + step["step"] / longest for step in known]
            ys = [step["losses"][name] for step in known]
        else:
            known = [epoch for epoch in epochs if name in epoch["losses"]]
            xs, ys = [epoch["epoch"] + 1 for epoch in known], [epoch["losses"][name] for epoch in known]
        curves.append(Line(name, xs, ys, colour))
    how = "Means between two readings." if steps else "Means over each epoch."
    drawn = lines(curves, "epoch", "loss")
    return Figure(f"Losses, {stage}", drawn, how, [(name, colour) for colour, name in enumerate(names, 1)])


def scores(records: Records) -> list[Figure]:
    """Return charts of mAP and rank-1 over the epochs after which the run tested: one for each search and score.

    A network of the last stage starts where the network of stage 1 stands that it was made from: at epoch 0.
    """
    tests = _tests(records)
    searches = dict.fromkeys(search for search, *_ in tests)
    figures = []
    for search in searches:
        of_search = [test for test in tests if test[0] == search]
        names = list(dict.fromkeys(name for _, name, _, _ in of_search))[:COLOURS]
        if max(len([1 for one in of_search if one[1] == name]) for name in names) < 2:
            continue  # a single point is in the table
        for key, title in SCORES.items():
            curves = []
            for colour, name in enumerate(names, 1):
                points = [(epoch, 100 * event[key]) for _, one, epoch, event in of_search if one == name]
                curves.append(Line(name, *map(list, zip(*points, strict=True)), colour))
            head = title if len(searches) == 1 else f"{title}, {search}"
            legend = [(name, colour) for colour, name in enumerate(names, 1)]
            figures.append(Figure(head, lines(curves, "epoch", f"{title} in %"), "In % on the test images.", legend))
    return figures


def _tests(records: Records) -> list[tuple[str, str, int, dict[str, Any]]]:
    """Return (search, network, epoch of the last stage, event) of every test.

    The epoch is that of the epoch before the test in the log; 0 in an earlier stage than the last.
    """
    stages = list(records.epochs())
    last, earlier = stages[-1] if stages else "", stages[:-1]
    chains = all(stage.startswith("stage 1") for stage in earlier)  # networks of stage 1 go on in the last stage
    tests, before, stage, epoch = [], {}, "", 0
    for event in records.events:
        if event.get("event") == "epoch":
            stage, epoch = event["stage"], event["epoch"] + 1
        elif event.get("event") == "test":
            name, search = str(event["network"]).rpartition(", ")[2], str(event["search"])
            if stage == last or not chains:
                tests.append((search, name, epoch, event))
            else:
                before.setdefault(search, []).append(event)
    for search, events in before.items():
        names = list(dict.fromkeys(name for of, name, _, _ in tests if of == search))
        starts = [(search, name, 0, event) for name, event in zip(names, events, strict=False)]
        tests = starts + tests
    return tests


def labels(records: Records) -> list[Figure]:
    """Return charts of the pseudo-labels over the epochs: agreement with the people where known, clusters, outliers."""
    figures = []
    for epochs in records.epochs().values():
        facts = [(epoch["epoch"] + 1, epoch.get("facts", {})) for epoch in epochs]
        known = [name for name in AGREEMENT if any(name in one for _, one in facts)]
        if known:
            curves = [_fact(facts, name, AGREEMENT[name], colour) for colour, name in enumerate(known, 1)]
            legend = [(AGREEMENT[name], colour) for colour, name in enumerate(known, 1)]
            words = "Of the labels with the people, who are known here but not to the training; 1 is perfect."
            figures.append(Figure("Agreement", lines(curves, "epoch", "agreement", top=1.0), words, legend))
        counts = [name for name in ("clusters", "outliers") if any(name in one for _, one in facts)]
        if counts:
            curves = [_fact(facts, name, name, colour) for colour, name in enumerate(counts, 1)]
            legend = [(name, colour) for colour, name in enumerate(counts, 1)]
            words = "Clusters that an epoch trained on, and images that belong to none of them."
            figures.append(Figure("Clusters and outliers", lines(curves, "epoch", "how many"), words, legend))
    return figures


def _fact(facts: Sequence[tuple[int, dict[str, float]]], key: str, name: str, colour: int) -> Line:
    points = [(epoch, float(one[key])) for epoch, one in facts if one.get(key) is not None]
    return Line(name, [x for x, _ in points], [y for _, y in points], colour)
