"""Rates by epoch and settings of the public codes' scripts, beside our schedules and presets."""

import pytest

from duoreid.backends.torch import networks, optimiser
from duoreid.core.methods.augmentation import ERASE_AREA, ERASE_ASPECT, ERASE_ATTEMPTS, ERASE_FILLS
from duoreid.core.methods.schedules import ema_decay, warmup_multistep
from duoreid.core.settings.presets import presets
from tests.golden.numbers import document

NUMBERS = document("mmt/mmt-schedule")
PRESETS = {name: config for name, config in presets().items() if name.startswith("mmt-")}
PUBLISHED = pytest.mark.parametrize("name", PRESETS)
AHEAD = {"factor_by_epoch": 1, "factor_by_epoch_before_torch_1_1": 0}


@pytest.mark.parametrize("torch", AHEAD)
def test_rates_of_stage_1(torch):
    """From torch 1.1 on the schedule runs an epoch ahead, the version that the public code pins included."""
    expected = NUMBERS["stage1_rate"][torch]
    rule = {"warmup_epochs": 10, "warmup_factor": 0.01, "milestones": (40, 70), "gamma": 0.1}
    rates = [warmup_multistep(epoch, rate=1.0, **rule, ahead=AHEAD[torch]) for epoch in range(len(expected))]
    assert len(expected) == 80
    assert rates == pytest.approx(expected, rel=1e-12)


@PUBLISHED
def test_stage_1(name):
    script, ours = NUMBERS["pretrain"]["script"], PRESETS[name].pretrain
    assert ours.rate == script["lr"] == NUMBERS["stage1_rate"]["base"]
    assert (ours.epochs, ours.iterations) == (script["epochs"], script["iters"])
    assert ours.identities * ours.images == script["batch_size"]
    assert ours.images == script["num_instances"]
    assert (ours.warmup_epochs, list(ours.milestones)) == (script["warmup_step"], script["milestones"])
    assert ours.smoothing == NUMBERS["pretrain"]["losses"]["ce_smoothing"]
    picture = NUMBERS["pretrain"]["augmentation"]
    assert (ours.flip, ours.padding, ours.erase) == (picture["flip"], picture["padding"], picture["erasing"])
    assert ours.adapt_batch_norm


@PUBLISHED
@pytest.mark.parametrize("trainer", ["mmt_kmeans", "mmt_dbscan"])
def test_stage_2(name, trainer):
    script, ours = NUMBERS[trainer]["script"], PRESETS[name].adapt
    assert ours.rate == script["lr"] == NUMBERS["stage2_rate"]["base"]
    assert (ours.epochs, ours.iterations) == (script["epochs"], script["iters"])
    assert ours.identities * ours.images == script["batch_size"]
    assert ours.images == script["num_instances"]
    assert (ours.soft_ce, ours.soft_triplet) == (script["soft_ce_weight"], script["soft_tri_weight"])
    assert (ours.hard_ce, ours.hard_triplet) == pytest.approx((1 - ours.soft_ce, 1 - ours.soft_triplet))
    assert ours.smoothing == NUMBERS["loss_weights"]["smoothing"]
    assert ours.ema_limit == script["alpha"] == NUMBERS["ema"]["alpha"]
    assert [ema_decay(step, ours.ema_limit) for step in (0, 1, 10**6)] == [0, 0.5, script["alpha"]]
    assert PRESETS[name].run.evaluate_every == script["eval_step"]


@PUBLISHED
def test_dbscan(name):
    jaccard, ours = NUMBERS["mmt_dbscan"]["jaccard"], PRESETS[name].adapt
    assert ours.k2 == jaccard["k2"]
    assert ours.min_samples == NUMBERS["mmt_dbscan"]["min_samples"]


@PUBLISHED
def test_images(name):
    ours, stage = PRESETS[name], NUMBERS["stage2_augmentation"]
    assert [ours.data.height, ours.data.width] == stage["resize"] == stage["crop"]
    assert stage["filter"] == f"{ours.data.interpolation} (PIL 3)"
    assert (ours.adapt.flip, ours.adapt.padding) == (stage["flip"], stage["padding"])
    erasing = stage["erasing"]
    assert ours.adapt.erase == erasing["probability"]
    assert [*ERASE_AREA, *ERASE_ASPECT] == pytest.approx([*erasing["area"], *erasing["aspect"]])
    assert erasing["attempts"] == ERASE_ATTEMPTS
    painted = [
        255 * (mean + std * fill) for mean, std, fill in zip(stage["mean"], stage["std"], erasing["fill"], strict=True)
    ]
    assert ERASE_FILLS[ours.adapt.erase_fill] == pytest.approx(painted, abs=0.5)
    assert (list(networks.MEAN), list(networks.DEVIATION)) == (stage["mean"], stage["std"])


@PUBLISHED
def test_optimiser(name):
    adam, ours = NUMBERS["adam"], PRESETS[name]
    assert list(optimiser.BETAS) == adam["betas"]
    assert adam["eps"] == optimiser.EPSILON
    assert f"{ours.pretrain.weight_decay:.0e}" == f"{ours.adapt.weight_decay:.0e}" == "5e-04"
    assert adam["weight_decay"].startswith("5e-4 added to the gradient (L2), on every trained tensor")


@PUBLISHED
def test_batch_norm_sees_the_rows_of_one_card(name):
    rows = NUMBERS["mmt_kmeans"]["script"]["batch_size"] // NUMBERS["mmt_kmeans"]["script"]["gpus"]
    assert PRESETS[name].network.batch_norm_group == rows == 16


def test_clusters_of_the_transfers_that_the_public_code_names():
    named = NUMBERS["transfers"]["dukemtmc -> market1501"]
    assert PRESETS["mmt-resnet50-duke-market"].adapt.clusters in named["resnet50"]["K"]
    assert PRESETS["mmt-ibn-duke-market"].adapt.clusters in named["resnet_ibn50a"]["K"]
