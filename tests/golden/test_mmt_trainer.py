"""The public MMT code's trainers with ResNet-50 in float64: three steps of MMT, four of the others, from its weights.

All 20 steps, IBN-ResNet-50-a and MindSpore: `python -m benchmarks.golden`.
"""

from collections import Counter
from functools import partial

import pytest

from duoreid.benchmarks.golden import mmt
from duoreid.benchmarks.golden.__main__ import table, worst
from tests.conftest import probe_of
from tests.golden.numbers import document
from tests.tolerances import tolerance

NUMBERS = document("mmt/mmt-trainer")
STEPS = {"mmt": 3, "pretrain": 4, "baseline": 4}
COMPARED = {
    # four networks of 270 tensors, and the live rows of their classifiers instead of the whole
    "mmt": {"loss": 3 * 5, "gradient": 2 * 160, "weights": 4 * 270, "embedding": 16},
    "pretrain": {"loss": 4 * 3, "gradient": 160, "weights": 270},
    "baseline": {"loss": 4 * 3, "gradient": 160, "weights": 270},
}
make_learner = partial(probe_of("torch").make_learner, precision="float64")


@pytest.mark.parametrize("trainer", STEPS)
def test_trainer(trainer):
    seen = Counter()
    for difference in mmt.replay(make_learner, NUMBERS, trainer, steps=STEPS[trainer]):
        assert difference.value <= tolerance(f"golden.mmt.trainer.{difference.kind}"), difference
        seen[difference.kind] += 1
    assert seen == COMPARED[trainer]


def test_faults_are_seen():
    """A sign, a transposition, one number in a million, and a loss that is not the sum of both students'."""
    weight = mmt.first_weights("student1", "base.3.0.conv1.weight", (64, 64, 1, 1))
    name, allowed = "student1.base.3.0.conv1.weight", tolerance("golden.mmt.trainer.weights")
    recorded = list(mmt.digest(name, weight))
    moved = weight.astype(float)
    moved[7, 9] *= 1 + 1e-6
    assert mmt.apart("weights", 0, name, weight, recorded).value <= allowed
    for wrong in (-weight, weight.transpose(1, 0, 2, 3), moved, weight * float("nan")):
        assert not mmt.apart("weights", 0, name, wrong, recorded).value <= allowed
    expected = NUMBERS["resnet50"]["mmt"]["epochs"][0]["steps"][0]
    (difference,) = mmt.losses_apart({"hard_ce": expected["ce_1"]}, expected, 1)
    assert difference.value == pytest.approx(expected["ce_2"])


def test_the_table_shows_the_largest_of_each_kind():
    differences = [
        mmt.Difference("loss", 1, "total", 1e-14),
        mmt.Difference("loss", 2, "hard_ce", 3e-14),
        mmt.Difference("loss", 3, "total", 4e-12),
        mmt.Difference("embedding", 0, "teacher1.embedding.0", 2e-15),
        mmt.Difference("weights", 2, "student1.x", float("nan")),
        mmt.Difference("weights", 2, "student1.y", 1e-9),
    ]
    row = worst(differences, epoch=2)
    assert row["steps"] == 3
    assert row["at"]["losses, first epoch"] == "hard_ce"
    assert row["at"]["weights, first epoch"] == "student1.x"
    named = {"backend": "torch", "network": "resnet50", "trainer": "mmt", "precision": "float64"}
    lines = table([named | row | {"seconds": 1, "bytes": 2e9}, named | {"failed": "exit -9: killed"}]).splitlines()
    assert "| 3e-14 | 4e-12 | - | nan | - | 2e-15 | 1 | 2.0 |" in lines[2]
    assert "exit -9: killed" in lines[3]
