"""`python -m datasets.doctor NAME DIR`: check a copy of a dataset before anyone trains on it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from duoreid.core.data import Dataset
from duoreid.core.errors import UserError
from duoreid.datasets import opening
from duoreid.datasets.checks import check_index, compare_counts
from duoreid.datasets.counts import PUBLISHED
from duoreid.datasets.diagnosis import Diagnosis, verdict
from duoreid.datasets.errors import DatasetError, Problem
from duoreid.datasets.files import OTHER
from duoreid.datasets.inspection import check_images, image_files, look_at_all, sizes
from duoreid.datasets.naming import Naming

FIT, UNFIT, UNCHECKED = 0, 1, 2
EPILOG = """exit status: 0 fit to train and test on (there may be remarks), 1 problems found, 2 not checked (wrong
arguments, or no such folder)."""


def examine(
    name: str,
    root: str,
    *,
    open_images: bool = True,
    progress: bool = True,
    workers: int | None = None,
    pattern: str = "",
) -> Diagnosis:
    """Check a copy of a dataset.

    name, root, pattern: as for `open_dataset`. open_images: decode every image, which takes a minute for 30,000 on
    one core.
    Raises UserError for an unknown name. What is wrong with the copy itself is in the diagnosis.
    """
    name = opening.canonical(name)
    diagnosis = Diagnosis(name, str(root))
    try:
        place = opening.find(name, root)
        diagnosis.root = str(place)
        datasets = _all_trials(name, place, diagnosis.problems, pattern)
    except DatasetError as error:
        diagnosis.problems.append(Problem("layout", str(error)))
        return diagnosis
    diagnosis.dataset, diagnosis.counts = datasets[0], compare_counts(datasets[0])
    for dataset in datasets:
        _add(diagnosis.problems, check_index(dataset), dataset.trial)
    if open_images:
        files = list(dict.fromkeys(file for dataset in datasets for file in image_files(dataset)))
        began = time.perf_counter()
        seen = look_at_all(files, progress=progress, workers=workers)
        diagnosis.images = {"opened": len(seen), "seconds": time.perf_counter() - began, **sizes(seen)}
        diagnosis.problems += check_images(datasets[0], seen)
        diagnosis.seen = seen
    return diagnosis


def _all_trials(name: str, place: Any, problems: list[Problem], pattern: str = "") -> list[Dataset]:
    """Read every trial that the dataset has; the lists of the first must be there, others may be missing."""
    datasets, without = [], []
    for trial in opening.READERS[name].trials:
        of_trial: list[Problem] = []
        try:
            datasets.append(opening.read(name, place, of_trial, trial, 0, pattern))
        except DatasetError as error:
            if not datasets:
                raise
            without.append(f"trial {trial}: {str(error).splitlines()[0]}")
        _add(problems, of_trial, trial)
    if without:
        problems.append(Problem("layout", f"{len(without)} trials cannot be run:", tuple(without), fatal=False))
    other = [problem for problem in problems if problem.check == OTHER]
    if len(other) > 1:
        files = tuple(dict.fromkeys(file for problem in other for file in problem.examples))
        problems[:] = [problem for problem in problems if problem.check != OTHER]
        problems.append(Problem(OTHER, f"{len(files)} entries that are no images are ignored:", files, fatal=False))
    problems[:] = [replace(problem, fatal=True) if problem.unfit else problem for problem in problems]
    return datasets


def _add(problems: list[Problem], of_trial: Sequence[Problem], trial: int) -> None:
    """Append problems, those of the first trial as they are and of later ones with the trial's number."""
    known = {(problem.check, problem.examples, problem.fatal) for problem in problems if problem.examples}
    for problem in of_trial:
        if trial < 2:
            problems.append(problem)
        elif (problem.check, problem.examples, problem.fatal) not in known:
            problems.append(Problem(problem.check, f"trial {trial}: {problem.text}", problem.examples, problem.fatal))


def report(diagnosis: Diagnosis) -> str:
    """Return the diagnosis as text: the table of counts, the findings, the verdict."""
    lines = [f"{diagnosis.name} in {diagnosis.root}"]
    if diagnosis.counts:
        lines += ["", f"  {'':<28}{'expected':>10}{'found':>10}"]
        for row in diagnosis.counts:
            expected = "-" if row["expected"] is None else f"{row['expected']:,}"
            mark = "" if row["expected"] is None else ("  ok" if row["agrees"] else "  DIFFERS")
            lines.append(f"  {row['what']:<28}{expected:>10}{row['found']:>10,}{mark}")
        if diagnosis.name in PUBLISHED:
            lines.append(f"  expected: {PUBLISHED[diagnosis.name].source}")
    if diagnosis.images:
        opened, seconds = diagnosis.images["opened"], diagnosis.images["seconds"]
        lines += ["", f"  {opened:,} images opened in {seconds:.1f} s"]
        if "width" in diagnosis.images:
            spans = ("{0} to {2} (median {1})".format(*diagnosis.images[side]) for side in ("width", "height"))
            lines[-1] += "; width {}, height {}".format(*spans)
    for title, fatal in (("Problems", True), ("Remarks", False)):
        chosen = [problem for problem in diagnosis.problems if problem.fatal is fatal]
        if chosen:
            lines += ["", f"{title}:", *(f"- {problem.check}: {problem}" for problem in chosen)]
    return "\n".join([*lines, "", f"Verdict: {verdict(diagnosis)}"])


def build(prog: str = "python -m datasets.doctor") -> argparse.ArgumentParser:
    """Return the parser. prog: how the command was called."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__, epilog=EPILOG)
    parser.add_argument("name", metavar="NAME", help=", ".join(opening.NAMES))
    parser.add_argument("dir", metavar="DIR", help="the dataset's folder, or a parent with one of its usual names")
    parser.add_argument("--json", action="store_true", help="print everything, with all files concerned, as JSON")
    parser.add_argument("--html", metavar="FILE", help="write a sheet to look at, too: examples, sizes, duplicates")
    parser.add_argument("--no-images", action="store_true", help="check the index only, open no image")
    parser.add_argument(
        "--camera-pattern", default="", metavar="REGEX", help="what names tell: groups identity, camera, time (folder)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="threads that decode (default: one per core)")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "python -m datasets.doctor") -> int:
    """Run the command line and return its exit status. prog: how it was called."""
    parser = build(prog)
    options = parser.parse_args(arguments)
    if options.workers is not None and options.workers < 1:
        parser.error(f"--workers: at least 1 expected, got {options.workers}")
    try:
        name = opening.canonical(options.name)
        opening.check_exists(name, options.dir)
        Naming(options.camera_pattern)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNCHECKED
    if options.html:
        from duoreid.datasets import sheet  # here: it loads what lays out pages

        try:
            sheet.require()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return UNCHECKED
    diagnosis = examine(
        name,
        options.dir,
        open_images=not options.no_images,
        progress=sys.stderr.isatty(),
        workers=options.workers,
        pattern=options.camera_pattern,
    )
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    print(json.dumps(diagnosis.as_json(), indent=1) if options.json else report(diagnosis))
    if options.html:
        try:
            print(sheet.write(diagnosis, options.html), file=sys.stderr)
        except (UserError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return UNCHECKED
    return FIT if diagnosis.fit else UNFIT


if __name__ == "__main__":
    import duoreid.datasets.doctor as module
    from duoreid.core.commands.command import finished

    sys.exit(finished(module.main))
