"""MVD's host half, objective and settings: what is trained on, the batches, the rates, the loss by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from duoreid.backends.torch.runtime import RuntimeConfig
from duoreid.core.commands import options
from duoreid.core.contract.state import MOMENTUM, check_state, expected_shapes, initial
from duoreid.core.contract.treatment import treatments
from duoreid.core.data import INFRARED, VISIBLE, Dataset, Search, Split, TrainingSet, Trial
from duoreid.core.errors import UserError
from duoreid.core.losses import (
    centre_triplet,
    cross_entropy,
    distillation,
    jensen_shannon,
    mutual_learning,
    mvd,
    ranked_list,
    triplet,
)
from duoreid.core.losses.mvd import VIEW_WEIGHTS, VIEWS, View
from duoreid.core.methods.mvd import MVD, check_groups, variational_tensors
from duoreid.core.methods.registry import spec_of
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.network import network_tensors
from duoreid.core.protocols import Metrics, summarise
from duoreid.core.random import rng
from duoreid.core.searches import chosen
from duoreid.core.settings.config import NetworkConfig
from duoreid.core.settings.cross_modal import CrossModalDataConfig, MVDConfig, MVDRecipe
from duoreid.core.settings.presets import presets
from duoreid.core.settings.published import of_cross_modal
from duoreid.core.training.pipelines.cross_modal import table
from duoreid.core.training.sharing import check_batches
from tests.core.gradients import assert_slopes

SEEN = [(5, VISIBLE, 4), (5, INFRARED, 3), (9, VISIBLE, 2), (2, INFRARED, 2), (2, VISIBLE, 5), (7, VISIBLE, 3)]
SEEN += [(7, INFRARED, 2), (-1, VISIBLE, 2), (4, INFRARED, 1), (11, VISIBLE, 2), (11, INFRARED, 2)]


class Pixels:
    """Images whose every byte is their row."""

    def __init__(self, count):
        self.shape = (count, 32, 16, 3)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        return np.broadcast_to(rows.astype(np.uint8)[:, None, None, None], (len(rows), *self.shape[1:])).copy()


def training_set(seen=SEEN):
    identities = np.repeat([s[0] for s in seen], [s[2] for s in seen]).astype(np.int32)
    modalities = np.repeat([s[1] for s in seen], [s[2] for s in seen]).astype(np.uint8)
    files = tuple(f"{row}.jpg" for row in range(len(identities)))
    split = Split(files, identities, modalities.astype(np.int32) + 1, modalities)
    return TrainingSet("people", Pixels(len(identities)), split)


def config(**changes):
    plain = {"identities": 3, "images": 2, "iterations": 4, "padding": 0, "flip": 0.0, "representation": 8}
    return MVDRecipe(data=CrossModalDataConfig(height=32, width=16), mvd=MVDConfig(**(plain | changes)))


# What is trained on


def test_identities_in_one_modality_are_left_out_and_named():
    method = MVD(config(), {"dataset": training_set()})
    assert method.classes == 4
    assert method.left_out == {"visible": [9], "infrared": [4]}
    known = dict(zip([2, 5, 7, 11], range(4), strict=True))
    expected = [known.get(identity, -1) for identity in method.train.split.identities]
    assert method.labels.tolist() == expected
    assert method.labels.dtype == np.int32


def test_nobody_is_left_out_silently_or_by_mistake():
    assert (
        MVD(
            config(), {"dataset": training_set([(1, VISIBLE, 3), (1, INFRARED, 3), (3, VISIBLE, 1), (3, INFRARED, 1)])}
        ).left_out
        == {}
    )


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        ([(1, VISIBLE, 3), (2, VISIBLE, 3)], "no labelled infrared training image"),
        ([(1, INFRARED, 3), (-1, VISIBLE, 3)], "no labelled visible training image"),
        ([(1, INFRARED, 3), (2, VISIBLE, 3)], "no identity of people has both"),
    ],
)
def test_data_that_cannot_be_matched_is_refused(seen, message):
    with pytest.raises(UserError, match=message):
        MVD(config(), {"dataset": training_set(seen)})


def test_too_few_identities_for_a_batch():
    method = MVD(config(identities=5), {"dataset": training_set()})
    with pytest.raises(UserError, match=r"5 identities .* only 4 with both visible and infrared"):
        method.sample(method.label(None, 0), 0)


# Batches


def test_batches_pair_the_same_people_in_both_modalities():
    method = MVD(config(), {"dataset": training_set()})
    labelling, split = method.label(None, 0), method.train.split
    plan = method.sample(labelling, 0)
    assert plan.shape == (4, 2, 6)
    for step, rows in enumerate(plan):
        for modality in (VISIBLE, INFRARED):
            assert (split.modalities[rows[modality]] == modality).all()
        people = split.identities[rows]
        np.testing.assert_array_equal(people[0], people[1])
        assert set(people.ravel().tolist()) <= {2, 5, 7, 11}
        batch = method.batch(labelling, rows, 0, step)
        np.testing.assert_array_equal(batch.images[:, :, 0, 0, 0], rows)
        np.testing.assert_array_equal(batch.labels, method.labels[rows[0]])
        assert batch.noise.shape == (8 * 6, 256)
        assert batch.noise.dtype == np.float32
        assert batch.noise.min() >= 0
        assert batch.noise.max() < 1


def test_batches_depend_on_seed_epoch_and_step_alone():
    first, again = (
        MVD(config(erase=0.5), {"dataset": training_set()}),
        MVD(config(erase=0.5), {"dataset": training_set()}),
    )
    labelling = first.label(None, 0)
    rows = first.sample(labelling, 3)[0]
    np.testing.assert_array_equal(again.sample(labelling, 3)[0], rows)
    batch, same = first.batch(labelling, rows, 3, 1), again.batch(labelling, rows, 3, 1)
    np.testing.assert_array_equal(batch.images, same.images)
    np.testing.assert_array_equal(batch.noise, same.noise)
    for other in (
        first.batch(labelling, rows, 3, 2),
        MVD(config(), {"dataset": training_set()}, seed=2).batch(labelling, rows, 3, 1),
    ):
        assert (other.noise != batch.noise).mean() > 0.99


def test_only_visible_images_lose_their_colour():
    train = training_set()
    colours = Pixels(len(train.images))
    plain = Pixels.__getitem__
    colours.__class__ = type(
        "Colours", (Pixels,), {"__getitem__": lambda self, r: plain(self, r) + np.uint8([0, 90, 40])}
    )
    method = MVD(config(grey=1.0), {"dataset": TrainingSet("people", colours, train.split)})
    labelling = method.label(None, 0)
    images = method.batch(labelling, method.sample(labelling, 0)[0], 0, 0).images
    assert (np.ptp(images[VISIBLE].astype(int), axis=-1) == 0).all()
    assert (np.ptp(images[INFRARED].astype(int), axis=-1) == 90).all()


def test_without_dropout_there_is_no_noise():
    method = MVD(config(dropout=0.0), {"dataset": training_set()})
    labelling = method.label(None, 0)
    assert method.batch(labelling, method.sample(labelling, 0)[0], 0, 0).noise is None


def test_one_pass_over_the_larger_modality():
    """14 visible images of people in both modalities, 6 of them a batch."""
    assert MVD(config(iterations=0), {"dataset": training_set()}).schedule.iterations == 14 // 6
    assert MVD(config(iterations=0, identities=4, images=8), {"dataset": training_set()}).schedule.iterations == 1


# Rates


def test_rates_of_both_recipes():
    steps = MVD(config(rate=2.0, warmup_epochs=10, milestones=(210,)), {"dataset": training_set()})
    assert [steps.rates(epoch, 0)[0] for epoch in (0, 10, 209, 210)] == pytest.approx([0.02, 2, 2, 0.2])
    linear = MVD(config(rate=2.0, warmup_epochs=5, decay="log-linear", final_factor=0.25), {"dataset": training_set()})
    assert [linear.rates(epoch, 3)[0] for epoch in (0, 5, 15, 21, 27, 79)] == pytest.approx([0.02, 2, 2, 1, 0.5, 0.5])


# The objective


LABELS, MODALITIES = np.tile(np.repeat([0, 1, 2], 2), 2), np.repeat([0, 1], 6)


def views(seed=0):
    shapes = (12, 6), (12, 4), (12, 5), (12, 4)
    return {
        name: View(*(2 * rng(seed, name, 0, index).standard_normal(shape) for index, shape in enumerate(shapes)))
        for name in VIEWS
    }


WEIGHTS = {"cml": 1.5, "vsd": 0.7, "vcd": 0.9, "vml": 1.2}


def test_the_objective_by_its_terms():
    outputs = views()
    total, parts, _ = mvd(outputs, LABELS, MODALITIES, **WEIGHTS)
    v, i, vs, si = (outputs[name] for name in VIEWS)
    expected = {
        "id": sum(
            VIEW_WEIGHTS[n] * (cross_entropy(x[1], LABELS)[0] + cross_entropy(x[3], LABELS)[0])
            for n, x in outputs.items()
        ),
        "metric": sum(
            VIEW_WEIGHTS[n] * (ranked_list(x[0], LABELS, MODALITIES)[0] + ranked_list(x[2], LABELS, MODALITIES)[0])
            for n, x in outputs.items()
        ),
        "vsd": distillation(v[1], v[3])[0] + distillation(i[1], i[3])[0],
        "vcd": 0.5 * distillation(vs[1], si[3])[0] + 0.5 * distillation(si[1], vs[3])[0],
        "vml": jensen_shannon(vs[3], si[3])[0],
        "cml": mutual_learning(v[1], i[1])[0],
    }
    assert parts == pytest.approx(expected)
    weights = {"id": 1.0, "metric": 1.0} | WEIGHTS
    assert total == pytest.approx(sum(weights[name] * value for name, value in expected.items()))
    assert VIEW_WEIGHTS == {"visible": 0.5, "infrared": 0.5, "shared_visible": 0.25, "shared_infrared": 0.25}


def test_the_reference_moves_infrared_to_visible_and_guards_its_sums():
    outputs = views()
    cml = mvd(outputs, LABELS, MODALITIES, form="reference", **WEIGHTS)[1]["cml"]
    pair = outputs["infrared"].observation_logits, outputs["visible"].observation_logits
    assert cml == pytest.approx(mutual_learning(*pair, form="reference")[0], rel=1e-12)
    assert cml != mvd(outputs, LABELS, MODALITIES, form="paper", **WEIGHTS)[1]["cml"]


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"objective": "id", **WEIGHTS}, {"id"}),
        ({"objective": "id+tri", **WEIGHTS}, {"id", "metric"}),
        ({"objective": "full", "vsd": 1.0}, {"id", "metric", "vsd"}),
    ],
)
def test_terms_that_are_not_asked_for_are_no_parts(settings, parts):
    assert set(mvd(views(), LABELS, MODALITIES, **settings)[1]) == parts


@pytest.mark.parametrize(("name", "function"), [("triplet", triplet), ("centre", centre_triplet)])
def test_other_metric_losses(name, function):
    outputs = views()
    more = () if name == "triplet" else (MODALITIES,)
    expected = sum(
        VIEW_WEIGHTS[n] * (function(x[0], LABELS, *more, 0.6)[0] + function(x[2], LABELS, *more, 0.6)[0])
        for n, x in outputs.items()
    )
    value = mvd(outputs, LABELS, MODALITIES, objective="id+tri", metric=name, margin=0.6)[1]["metric"]
    assert value == pytest.approx(expected)


FIELDS = View._fields


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(("form", "view"), [*(("paper", view) for view in VIEWS), ("reference", "shared_infrared")])
def test_gradients_of_the_objective(form, view, field):
    """By their slopes; observations without VSD and VCD, whose targets they are."""
    outputs = views(1)
    weights = WEIGHTS | ({"vsd": 0.0, "vcd": 0.0} if field == "observation_logits" else {})

    def moved(x):
        changed = outputs | {view: outputs[view]._replace(**{field: x})}
        total, _, gradients = mvd(changed, LABELS, MODALITIES, form=form, **weights)
        return total, getattr(gradients[view], field)

    assert_slopes(moved, getattr(outputs[view], field), rtol=2e-6)


def test_slopes_see_one_wrong_entry():
    x, wrong = rng(0, "slopes", 0, 0).standard_normal((4, 3)), np.ones((4, 3))
    wrong[2, 1] += 1e-4
    assert_slopes(lambda x: ((x * x).sum(), 2 * x), x)
    with pytest.raises(AssertionError):
        assert_slopes(lambda x: ((x * x).sum(), 2 * x * wrong), x)


def test_the_targets_of_distillation_are_constants():
    with_terms = mvd(views(), LABELS, MODALITIES, **WEIGHTS)[2]
    without = mvd(views(), LABELS, MODALITIES, **(WEIGHTS | {"vsd": 0.0, "vcd": 0.0}))[2]
    for view in VIEWS:
        np.testing.assert_allclose(with_terms[view].observation_logits, without[view].observation_logits, atol=1e-15)
        difference = with_terms[view].representation_logits - without[view].representation_logits
        assert np.abs(difference).max() > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "all"}, "objective must be"),
        ({"metric": "cosine"}, "metric loss must be one of"),
        ({"form": "mine", "vsd": 1.0}, "form of distillation"),
    ],
)
def test_unknown_names_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        mvd(views(), LABELS, MODALITIES, **change)
    missing = {name: view for name, view in views().items() if name != "visible"}
    with pytest.raises(ValueError, match="compares the views"):
        mvd(missing, LABELS, MODALITIES)


# State and settings


def test_the_port_s_number_of_parameters():
    """Its checkpoint holds 82,273,734 numbers in 879 tensors; 82.09 million of them in 537 are trained (D57)."""
    tensors = network_tensors(
        BackboneConfig(NetworkConfig("resnet50"), 288, 144), 395, representation=512, biases=True, neck_bias=True
    )
    trained = [int(np.prod(entry.shape)) for entry in tensors if entry.trained]
    assert 3 * sum(int(np.prod(entry.shape)) for entry in tensors) == 82_273_734
    assert 3 * sum(trained) == pytest.approx(82.09e6, rel=1e-4)
    assert (3 * len(tensors), 3 * len(trained)) == (879, 537)


def test_state_of_sgd():
    settings = spec_of("mvd").learner_config(
        NetworkConfig("tiny"), 6, 6, 32, 16, optimiser="sgd", section=MVDConfig(channel_attention=True)
    )
    state = initial(settings, 1)
    check_state(state, settings)
    assert state[f"{MOMENTUM}shared.attention2.gamma"].shape == (1,)
    assert "sgd.step" in state
    assert not any(name.startswith("adam.") for name in state)
    assert (state["visible.bottleneck.classifier.weight"].shape, state["visible.classifier.weight"].shape) == (
        (6, 256),
        (6, 256),
    )
    with pytest.raises(UserError, match="missing: adam"):
        check_state(state, spec_of("mvd").learner_config(NetworkConfig("tiny"), 6, 6, 32, 16, section=settings.section))
    shapes = expected_shapes(spec_of("mvd").learner_config(NetworkConfig("tiny"), 9, 9, 32, 16))
    assert shapes["infrared.bottleneck.classifier.bias"] == (9,)


def parse(*argv):
    return options.parse(argv, "train", RuntimeConfig, presets())[0]


def test_mvd_alone_is_the_synthetic_recipe():
    assert parse("mvd") == presets()["synthetic-vi"]
    assert parse("--preset", "mvd-regdb").method == "mvd"


def test_options_are_those_of_the_method():
    recipe = parse("mvd", "--objective", "id+tri", "--epochs", "3", "--optimiser", "sgd", "--trials", "4", "5")
    assert (recipe.mvd.objective, recipe.mvd.epochs, recipe.mvd.optimiser) == ("id+tri", 3, "sgd")
    assert recipe.data.trials == (4, 5)
    for wrong in (
        ("mvd", "--clusters", "3"),
        ("mvd", "--source", "x"),
        ("mmt", "--objective", "id"),
        ("--trials", "1"),
    ):
        with pytest.raises(UserError, match="means nothing to"):
            parse(*wrong)
    with pytest.raises(UserError, match="recipe of mmt"):
        parse("mvd", "--preset", "synthetic")
    with pytest.raises(UserError, match="must be below 1"):
        parse("mvd", "--dropout", "1")


def test_the_published_recipes():
    reference, port = presets()["mvd-sysu"], presets()["mvd-regdb-port"]
    assert (reference.data.height, reference.data.width, reference.mvd.identities, reference.mvd.images) == (
        256,
        128,
        16,
        4,
    )
    assert (reference.mvd.rate, reference.mvd.epochs, reference.mvd.milestones) == (2.6e-4, 600, (210,))
    assert (reference.mvd.cml, reference.mvd.vsd, reference.mvd.vcd) == (8, 2, 2)
    assert (reference.mvd.distillation, reference.mvd.metric, reference.mvd.channel_attention) == (
        "reference",
        "ranked-list",
        True,
    )
    assert presets()["mvd-regdb"].data.trials == tuple(range(1, 11))
    assert (port.data.height, port.data.width, port.mvd.identities, port.mvd.images) == (288, 144, 8, 4)
    assert (port.mvd.rate, port.mvd.backbone_factor, port.mvd.epochs) == (3.5e-3, 0.1, 80)
    assert (port.mvd.objective, port.mvd.metric, port.mvd.margin) == ("id+tri", "triplet", 0.3)
    assert (port.mvd.decay, port.mvd.milestones, port.mvd.warmup_epochs) == ("steps", tuple(range(14, 27)), 4)
    assert (port.mvd.grey, port.mvd.erase, port.mvd.erase_most) == (0.5, 0.5, 0.33)


@pytest.mark.parametrize(("name", "group"), [("mvd-sysu", 64), ("mvd-regdb", 32)])
def test_recipes_of_the_pytorch_code(name, group):
    """Two GPUs have half of a step's rows each, both modalities mixed, and the shared network's forms apart."""
    recipe = presets()[name]
    section = recipe.mvd
    assert recipe.network == NetworkConfig("resnet50", batch_norm_group=group)
    assert group == section.identities * section.images
    assert (section.mixed_groups, section.shared_norm, section.grey_form) == (True, "grey-first", "normalised")
    assert (section.pass_over, section.schedule_ahead, section.padding, section.smoothing) == ("people", 1, 0, 0.1)
    assert (section.biases, section.neck_bias, section.feature) == (True, False, "joint")
    assert recipe.data.interpolation == "bilinear"
    check_groups(recipe)


@pytest.mark.parametrize(("name", "epochs"), [("mvd-sysu-port", 60), ("mvd-regdb-port", 80)])
def test_recipes_of_the_port(name, epochs):
    recipe = presets()[name]
    section, network = recipe.mvd, recipe.network
    assert (network.last_stride, network.conv_padding) == (2, "same")
    assert (network.last_norm_epsilon, network.last_norm_momentum) == (1e-3, 0.003)
    assert (section.epochs, section.sampler, section.smoothing, section.padding) == (epochs, "independent", 0, 0)
    assert (section.grey_form, section.shared_norm, section.mixed_groups) == ("port", "colour-first", False)
    assert (section.biases, section.neck_bias, section.factor_reach, section.feature) == (
        True,
        True,
        "observation",
        "each",
    )
    assert recipe.data.interpolation == "lanczos"


def test_rates_of_the_port_s_tensors():
    """Its 48 tensors of bottlenecks with their classifiers of z have the full rate, its 489 others a tenth."""
    recipe = presets()["mvd-sysu-port"]
    settings = spec_of("mvd").learner_config(
        recipe.network, 8, 8, 288, 144, section=recipe.mvd, backbone_factor=recipe.mvd.backbone_factor
    )
    names = [entry.name for entry in variational_tensors(settings) if entry.trained]
    chosen = treatments(settings, [f"visible.{name}" for name in names])
    factors = {name: one.factor for name, one in zip(names, chosen, strict=True)}
    full = [name for name, factor in factors.items() if factor == 1.0]
    assert 3 * len(full) == 48
    assert 3 * (len(factors) - len(full)) == 489
    assert {factors[name] for name in ("neck.bias", "classifier.weight", "classifier.bias", "conv1.weight")} == {0.1}


@pytest.mark.parametrize(
    ("group", "changes", "message"),
    [
        (6, {"mixed_groups": True}, "--mixed-groups needs --shared-norm"),
        (0, {"mixed_groups": True, "shared_norm": "grey-first"}, "got 0: give 6"),
        (3, {"mixed_groups": True, "shared_norm": "grey-first"}, "even and to divide the 12 images"),
        (8, {"mixed_groups": True, "shared_norm": "colour-first"}, "got 8"),
    ],
)
def test_groups_that_cannot_be_mixed(group, changes, message):
    wrong = replace(config(**changes), network=NetworkConfig("tiny", batch_norm_group=group))
    with pytest.raises(UserError, match=message):
        MVD(wrong, {"dataset": training_set()})


@pytest.mark.parametrize("name", ["mvd-sysu", "mvd-regdb"])
def test_two_processes_are_the_two_devices_of_the_pytorch_code(name):
    """Each sees half of a step's rows in both modalities, which are one mixed group; four see less than a group."""
    check_batches(SimpleNamespace(size=2), presets()[name])
    check_batches(SimpleNamespace(size=1), presets()[name])
    with pytest.raises(UserError, match="must divide the"):
        check_batches(SimpleNamespace(size=4), presets()[name])
    apart = replace(presets()[name], mvd=replace(presets()[name].mvd, mixed_groups=False))
    with pytest.raises(UserError, match="must divide the"):
        check_batches(SimpleNamespace(size=2), apart)


def test_one_pass_over_people():
    """4 people in both modalities, 3 a batch: the fourth sits out."""
    assert MVD(config(iterations=0, pass_over="people"), {"dataset": training_set()}).schedule.iterations == 1
    assert (
        MVD(config(iterations=0, pass_over="people", identities=2), {"dataset": training_set()}).schedule.iterations
        == 2
    )


def test_independent_batches_and_smaller_rectangles():
    method = MVD(config(sampler="independent", images=8, erase_most=0.1), {"dataset": training_set()})
    rows = method.sample(method.label(None, 0), 0)
    assert rows.shape == (4, 2, 24)
    assert any(len(set(part.tolist())) < 8 for part in rows.reshape(-1, 8)), "images come with repetition"
    assert {one.erase_most for one in method.augmentations.values()} == {0.1}


# Searches and the table


def dataset():
    test = training_set([(1, VISIBLE, 2), (1, INFRARED, 2)]).split
    visible, infrared = np.array([0, 1]), np.array([2, 3])
    names = ("all, single-shot", "indoor, single-shot", "visible to thermal")
    trials = (Trial(infrared, visible), Trial(infrared, visible), Trial(visible, infrared))
    searches = tuple(Search(name, (trial,)) for name, trial in zip(names, trials, strict=True))
    return Dataset("people", "", test, test, searches)


def test_searches_by_name_and_direction():
    names = {
        which: [search.name.split(",")[0] for search in chosen(dataset(), which)]
        for which in ("every", "all", "indoor", "visible-to-infrared", "infrared-to-visible")
    }
    assert names == {
        "every": ["all", "indoor", "visible to thermal"],
        "all": ["all"],
        "indoor": ["indoor"],
        "visible-to-infrared": ["visible to thermal"],
        "infrared-to-visible": ["all", "indoor"],
    }


def test_a_search_that_the_dataset_has_not():
    one_way = dataset()
    one_way = Dataset("people", "", one_way.train, one_way.test, one_way.searches[:2])
    with pytest.raises(UserError, match=r"--search visible-to-infrared is none .*\(all, single-shot; indoor"):
        chosen(one_way, "visible-to-infrared")


def test_the_table_has_mean_spread_and_what_was_published():
    trials = [Metrics(0.5, 0.6, 0.7, 0.8, 0.9, 0.4), Metrics(0.6, 0.6, 0.7, 0.8, 0.9, 0.4)]
    results = [summarise("visible to thermal", trials, official=True)]
    text = table(
        "mvd, regdb", results, {"visible to thermal": of_cross_modal(MVDRecipe(), "regdb", results[0].name, True)}
    )
    assert "55.0 ± 7.1" in text
    assert "60.0 ± 0.0" in text
    assert "published, MindSpore port, Ascend 910" in text
    assert of_cross_modal(MVDRecipe(), "sysu", "all, single-shot", True)["PyTorch"] == (58.80, 60.02)
    assert of_cross_modal(MVDRecipe(), "synthetic-regdb", "visible to thermal", True) == {}
