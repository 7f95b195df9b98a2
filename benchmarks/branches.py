"""`python -m benchmarks.branches RUN`: what the branches of an MVD run find, by observation v and representation z.

Four of each kind: the visible branch sees every image in colour, the infrared branch in grey, the shared branch both.
The test's own feature is the four observations together. In torch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from duoreid.backends.torch.multi_view import both_forms
from duoreid.backends.torch.networks import VariationalNetwork
from duoreid.benchmarks.measure import command_of, environment
from duoreid.core.checkpoints.trained import open_trained
from duoreid.core.commands.command import guarded
from duoreid.core.contract.state import network
from duoreid.core.data import Chunks
from duoreid.core.errors import UserError
from duoreid.core.methods.registry import spec_of
from duoreid.core.protocols import evaluate
from duoreid.core.settings.config import LearnerConfig
from duoreid.core.training.tables import table
from duoreid.datasets.library import open_data

VIEWS = {
    "visible": ("visible", 0),
    "infrared": ("infrared", 1),
    "shared, colour": ("shared", 0),
    "shared, grey": ("shared", 1),
}
"""Name of a view -> (its branch, which form it sees: 0 colour, 1 grey)."""


def branches(config: LearnerConfig, state: dict[str, np.ndarray]) -> dict[str, VariationalNetwork]:
    """Return the networks of a state, ready to be tested."""
    made = {}
    for role in dict.fromkeys(role for role, _ in VIEWS.values()):
        tensors = network(state, role)
        made[role] = VariationalNetwork.of(config, len(tensors["classifier.weight"])).eval()
        made[role].load_state_dict({name: torch.tensor(value) for name, value in tensors.items()})
    return made


@torch.no_grad()
def features_of(
    config: LearnerConfig, state: dict[str, np.ndarray], images: Iterable[np.ndarray]
) -> dict[str, np.ndarray]:
    """Chunks of images uint8 (b, H, W, 3) -> L2-normalised float32 (N, D), by "v" or "z" and the view, or "all"."""
    made, features = branches(config, state), {}
    for chunk in images:
        forms = both_forms([torch.from_numpy(np.ascontiguousarray(chunk))], torch.float32, config)
        outputs = {name: made[role](forms[form]) for name, (role, form) in VIEWS.items()}
        for kind, place in (("v", 0), ("z", 2)):
            parts = {name: output[place] for name, output in outputs.items()}
            parts["all"] = torch.cat(list(parts.values()), dim=1)
            for name, rows in parts.items():
                features.setdefault(f"{kind}, {name}", []).append(torch.nn.functional.normalize(rows).numpy())
    return {name: np.concatenate(parts) for name, parts in features.items()}


def run(given: argparse.Namespace) -> None:
    """Test every feature, print the table, write the JSON file."""
    rows: dict[str, dict[str, list[float]]] = {}
    for path in given.runs:
        trained = open_trained(path)
        model = trained.models[trained.one()]
        if not spec_of(model.config.method).joint:
            raise UserError(f"{path} holds a {model.config.method} network: give runs whose branches make one feature.")
        data = replace(trained.config.data, data=given.data) if given.data else trained.config.data
        opened = open_data(data.dataset, data, trained.trial or 1)
        feature_sets = features_of(model.config, model.state, Chunks(opened.test, given.batch))
        for name, features in feature_sets.items():
            means = [result.mean for result in evaluate(features, opened.dataset)]
            row = rows.setdefault(name, {"mAP": [], "rank-1": []})
            row["mAP"].append(100 * float(np.mean([mean.mean_ap for mean in means])))
            row["rank-1"].append(100 * float(np.mean([mean.rank1 for mean in means])))
    print(table(("feature", "mAP", "rank-1"), [[name, *map(_cell, row.values())] for name, row in rows.items()]))
    if given.json:
        command = command_of("branches")
        given.json.write_text(json.dumps({"command": command, **environment(), "rows": rows}, indent=1) + "\n")


def _cell(values: Sequence[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.branches", description=__doc__, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", help="folders of runs of MVD; of several the mean and the spread are shown")
    parser.add_argument("--data", help="folder of the datasets, where it is another than the run's")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--json", type=Path)
    return guarded(lambda: run(parser.parse_args(arguments)))


if __name__ == "__main__":
    import duoreid.benchmarks.branches as module

    sys.exit(module.main())
