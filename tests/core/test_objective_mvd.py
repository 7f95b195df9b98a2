"""MVD's objective: its terms one by one, its gradients by their slopes, and what is no part of it."""

import numpy as np
import pytest

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
from duoreid.core.random import rng
from tests.core.gradients import assert_slopes

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
