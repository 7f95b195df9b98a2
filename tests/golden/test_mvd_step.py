"""One training step of both public MVD codes: losses, every gradient and running statistic, in both backends.

The PyTorch code on one device and on two, whose batch norms see half of the rows each. Of two devices the code keeps
the first one's running statistics, where ours are the mean over both (D44): these are compared on one.
"""

import pytest

from tests.golden.mvd_networks import CROSSED, GROUPS, gradients, statistics, step
from tests.golden.numbers import document
from tests.tolerances import tolerance

TORCH = document("mvd/mvd-torch-step")
PORT = document("mvd/mvd-mindspore-step")
WEIGHTS = {"visible": 0.5, "infrared": 0.5, "shared_colour": 0.25, "shared_grey": 0.25}
STEPS = {
    "one device": ("torch code", None, TORCH["replicas1"]),
    "two devices": ("torch code", GROUPS["torch code"], TORCH["replicas2"]),
    "port": ("port", GROUPS["port"], PORT | {"running": PORT["running_after_one_forward"]}),
}
ALONE = [
    ("mindspore", "port"),
    pytest.param("torch", "one device", marks=pytest.mark.long),
    pytest.param("torch", "port", marks=CROSSED),
]
RUNS = [("torch", "two devices"), *ALONE, pytest.param("mindspore", "two devices", marks=CROSSED)]
runs = pytest.mark.parametrize(("backend", "name"), RUNS)


def precision_of(backend, name):
    """That of the comparison: the port's own numbers are float32."""
    return "float64" if backend == "torch" and name != "port" else "float32"


@runs
def test_losses(backend, name):
    code, group, numbers = STEPS[name]
    losses, precision = step(backend, code, group).losses, precision_of(backend, name)
    assert losses.keys() == numbers["losses"].keys()
    for part, expected in numbers["losses"].items():
        kind = "transport" if part in ("cml", "total") else "term"
        allowed = tolerance(f"golden.mvd.{kind}.{precision}") * abs(expected)
        assert abs(losses[part] - expected) <= allowed, f"{part}: {losses[part]}, the public code has {expected}"


@runs
def test_gradients(backend, name):
    code, group, numbers = STEPS[name]
    precision, compared = precision_of(backend, name), 0
    for tensor, norm, dot in gradients(code, step(backend, code, group), numbers["gradient"]):
        compared += 1
        kinds = [f"golden.mvd.gradient.{precision}"] * 2
        if precision == "float32":
            kinds[1] = "golden.mvd.gradient.dot.float32"
            kinds = ["golden.mvd.gradient.gamma.float32"] * 2 if "_cam_module" in tensor else kinds
        assert norm <= tolerance(kinds[0]), f"norm of {tensor}: apart by {norm:.1e} of it"
        assert dot <= tolerance(kinds[1]), f"direction of {tensor}: apart by {dot:.1e} of its norm"
    assert compared > 520


@pytest.mark.parametrize(("backend", "name"), ALONE)
def test_running_statistics(backend, name):
    """The shared branch moves twice: grey first in the PyTorch code, colour first in the port; bn3 slowly there."""
    code, group, numbers = STEPS[name]
    allowed = tolerance(f"golden.mvd.running.{precision_of(backend, name)}")
    differences = dict(statistics(code, step(backend, code, group), numbers["running"]))
    assert len(differences) == 342
    worst = max(differences, key=differences.get)
    assert differences[worst] <= allowed, f"{worst}: apart by {differences[worst]:.1e}"


@pytest.mark.parametrize("kind", ["id", "metric"])
@pytest.mark.parametrize("name", STEPS)
def test_sums_over_the_views(name, kind):
    numbers = STEPS[name][2]
    singles = numbers["single"]
    total = sum(share * (singles[f"{kind}/{view}"] + singles[f"{kind}/{view}_z"]) for view, share in WEIGHTS.items())
    assert total == pytest.approx(numbers["losses"][kind], rel=1e-6 if name == "port" else 1e-9)


def test_total():
    weights = {"id": 1, "metric": 1, "cml": 8, "vsd": 2, "vcd": 2}
    for name in ("one device", "two devices"):
        losses = STEPS[name][2]["losses"]
        assert sum(weight * losses[part] for part, weight in weights.items()) == pytest.approx(
            losses["total"], rel=1e-9
        )
