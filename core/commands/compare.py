"""`duoreid compare RUN RUN ...`: settings that differ, metrics with their spread over seeds, time, and one plot."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duoreid.core.commands.parsing import Parser, add_help
from duoreid.core.errors import UserError
from duoreid.core.training.past import METRICS, Past, mean, read
from duoreid.core.training.tables import table

SEEDS = ("run.seed",)
"""Settings in which runs of one group may differ: their results are spread over them."""

ASIDE = ("run.output", "run.resume", "run.save_every", "run.log", "data.data", "data.cache", "data.cache_folder")
"""Settings that change no result."""


@dataclass(frozen=True)
class Group:
    """Runs of the same settings under several seeds. name: short. settings: flat, by dotted name."""

    name: str
    settings: dict[str, Any]
    runs: tuple[Past, ...]


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings by dotted name.

    >>> flat({"run": {"seed": 1}, "method": "mmt"})
    {'run.seed': 1, 'method': 'mmt'}
    """
    dotted: dict[str, Any] = {}
    for name, value in settings.items():
        dotted.update(flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value})
    return dotted


def decisive(run: Past) -> dict[str, Any]:
    """Return the settings that may change a run's results, and its backend."""
    settings = flat({name: value for name, value in run.settings.items() if name != "backend"})
    return {"backend": run.backend} | {key: value for key, value in settings.items() if key not in (*SEEDS, *ASIDE)}


def grouped(runs: Sequence[Past]) -> list[Group]:
    """Put runs together that differ in their seeds alone, in the order in which they come."""
    groups: dict[str, list[Past]] = {}
    for run in runs:
        groups.setdefault(json.dumps(decisive(run), sort_keys=True), []).append(run)
    names = told_apart([members[0].folder for members in groups.values()])
    return [
        Group(name, decisive(members[0]), tuple(members)) for name, members in zip(names, groups.values(), strict=True)
    ]


def told_apart(folders: Sequence[Path]) -> list[str]:
    """Return the ends of paths that tell them apart, all of as few parts as do.

    >>> told_apart([Path("seed-1/full"), Path("seed-2/full")])
    ['seed-1/full', 'seed-2/full']
    >>> told_apart([Path("runs/mmt"), Path("runs/mvd")])
    ['mmt', 'mvd']
    """
    whole = [folder.resolve() for folder in folders]
    for count in range(1, max(len(path.parts) for path in whole) + 1):
        names = ["/".join(path.parts[-count:]) for path in whole]
        if len(set(names)) == len(set(whole)):
            break
    return names


def differing(groups: Sequence[Group]) -> dict[str, list[Any]]:
    """Return the settings that are not the same in every group, with their values; None where a group has none."""
    names = dict.fromkeys(name for group in groups for name in group.settings)
    columns = {name: [group.settings.get(name) for group in groups] for name in names}
    return {name: values for name, values in columns.items() if any(value != values[0] for value in values)}


def spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Return (mean, sample standard deviation); no deviation for one value."""
    return mean(values), statistics.stdev(values) if len(values) > 1 else None


def compared(groups: Sequence[Group]) -> dict[str, Any]:
    """Return the comparison as plain data: fractions, seconds."""
    rows = []
    for group in groups:
        measured = [scores for run in group.runs if (scores := run.metrics())]
        metrics = {key: spread([one[key] for one in measured]) if measured else None for key in METRICS.values()}
        rows.append(
            {
                "name": group.name,
                "runs": [str(run.folder) for run in group.runs],
                "seeds": [run.settings.get("run", {}).get("seed") for run in group.runs],
                "states": [run.state() for run in group.runs],
                "metrics": metrics,
                "seconds": mean([run.seconds for run in group.runs]),
            }
        )
    return {"settings": differing(groups), "groups": rows}


def text(content: Mapping[str, Any]) -> str:
    """Return both tables: what differs, and what came of it."""
    names = [row["name"] for row in content["groups"]]
    settings = [[name, *map(_shown, values)] for name, values in content["settings"].items()]
    first = table(("settings that differ", *names), settings) if settings else "The settings are the same."
    rows = []
    for row in content["groups"]:
        cells = [_percent(row["metrics"][key]) for key in METRICS.values()]
        states = row["states"]
        open_ = sum(state != "finished" for state in states)
        state = "" if not open_ else states[0] if len(states) == 1 else f"{open_} not finished"
        rows.append([row["name"], *cells, str(len(row["runs"])), f"{row['seconds']:.0f}", state])
    return f"{first}\n\n" + table(("", *METRICS, "seeds", "seconds", ""), rows)


def _shown(value: Any) -> str:
    return "-" if value is None else " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _percent(entry: tuple[float, float | None] | None) -> str:
    if entry is None:
        return "-"
    return f"{100 * entry[0]:.1f}" + ("" if entry[1] is None else f" ± {100 * entry[1]:.1f}")


def draw(groups: Sequence[Group], path: Path) -> None:
    """Draw mAP by epoch: a line for each group, the mean over its seeds, and a band from the lowest to the highest."""
    try:
        import matplotlib
    except ImportError as error:
        raise UserError("--plot needs matplotlib, which is not installed: pip install 'duoreid[plots]'.") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for group in groups:
        curves: dict[int, list[float]] = {}
        for run in group.runs:
            for epoch, tests in run.tests():
                curves.setdefault(epoch, []).append(100 * mean([test["mean_ap"] for test in tests]))
        epochs = sorted(curves)
        (line,) = axes.plot(epochs, [mean(curves[epoch]) for epoch in epochs], marker=".", label=group.name)
        if len(group.runs) > 1:
            low, high = ([bound(curves[epoch]) for epoch in epochs] for bound in (min, max))
            axes.fill_between(epochs, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set(xlabel="epoch of the last stage", ylabel="mAP in percent", title="mAP on the target by epoch")
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise UserError(f"--plot {path} could not be written: {error}") from error
    finally:
        pyplot.close(figure)


def build(prog: str = "duoreid compare") -> Parser:
    """Return the parser."""
    parser = Parser(
        prog=prog,
        usage=f"{prog} RUN RUN ... [--plot FILE] [--json]",
        description="Compare runs: settings that differ, the last results, the time. Runs that differ in their seed "
        "alone are one line, with the mean and the sample standard deviation over the seeds.",
        examples=[f"{prog} runs/mmt-torch runs/baseline-torch", f"{prog} runs/mmt-* --plot compare.png"],
    )
    add_help(parser)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw mAP by epoch into a PNG, SVG or PDF file")
    parser.add_argument("--json", action="store_true", help="print JSON; fractions instead of percent")
    return parser


def main(words: Sequence[str] | None = None, prog: str = "duoreid compare") -> int:
    """Run the command line; return the exit status."""
    given = build(prog).parse_args(words)
    folders = list(dict.fromkeys(path.resolve() for path in given.runs))
    if len(folders) < 2:
        raise UserError("two runs or more are compared: give their folders.")
    groups = grouped([read(folder) for folder in folders])
    content = compared(groups)
    print(json.dumps(content, indent=1) if given.json else text(content))
    if given.plot:
        draw(groups, given.plot)
    return 0
