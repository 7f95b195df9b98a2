"""Settings: immutable, limited, and every limit reported with option, value and reason."""

import json
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace

import pytest

from duoreid.core.errors import UserError
from duoreid.core.settings.config import (
    NetworkConfig,
    as_dict,
    option,
    validate,
)
from duoreid.core.settings.transfer import (
    AdaptationRunConfig,
    AdaptConfig,
    MMTRecipe,
    PretrainConfig,
    TransferDataConfig,
)

PARTS = {
    "data": TransferDataConfig,
    "network": NetworkConfig,
    "pretrain": PretrainConfig,
    "adapt": AdaptConfig,
    "run": AdaptationRunConfig,
}
LIMITED = [
    (part, item.name, limit, item.metadata[limit])
    for part, kind in PARTS.items()
    for item in fields(kind)
    for limit in ("least", "above")
    if item.metadata.get(limit) is not None
]
CHOICES = [
    (part, item.name)
    for part, kind in PARTS.items()
    for item in fields(kind)
    if item.metadata.get("choices") is not None
]


def changed(part, name, value):
    config = MMTRecipe()
    return replace(config, **{part: replace(getattr(config, part), **{name: value})})


@pytest.mark.parametrize("part", PARTS)
def test_no_number_may_be_infinite(part):
    for item in fields(PARTS[part]):
        if isinstance(item.default, float):
            with pytest.raises(UserError, match=rf"^{part}\.{item.name} must be (finite|a finite|at most|below)"):
                validate(changed(part, item.name, float("inf")))


def test_the_default_is_valid():
    validate(MMTRecipe())


def test_there_are_limits_to_test():
    assert len(LIMITED) > 30
    assert len(CHOICES) > 5


@pytest.mark.parametrize(("part", "name", "limit", "value"), LIMITED)
def test_every_limit(part, name, limit, value):
    """The limit itself passes for `least` and fails for `above`; what lies below fails, and NaN does."""
    tiny = 1 if isinstance(value, int) else 1e-9
    if limit == "least":
        validate(changed(part, name, value))
    else:
        validate(changed(part, name, value + tiny))
    for wrong in [value - tiny, float("nan"), *([value] if limit == "above" else [])]:
        with pytest.raises(UserError, match=rf"^{part}\.{name} must be (at least|above) .*, got {wrong!r}: \w+"):
            validate(changed(part, name, wrong))


@pytest.mark.parametrize(("part", "name"), CHOICES)
def test_every_choice(part, name):
    choices = PARTS[part].__dataclass_fields__[name].metadata["choices"]
    for choice in choices:
        validate(changed(part, name, choice))
    with pytest.raises(UserError, match=rf"unknown {part}\.{name} 'nonsense'.*Known: "):
        validate(changed(part, name, "nonsense"))


def test_the_closest_choice_is_named():
    with pytest.raises(UserError, match=r"unknown network\.arch 'resnet5O'\. Did you mean 'resnet50'\?"):
        validate(changed("network", "arch", "resnet5O"))


def test_settings_are_immutable():
    with pytest.raises(FrozenInstanceError):
        MMTRecipe().adapt.epochs = 3


def test_every_field_has_a_help_text():
    for kind in PARTS.values():
        for item in fields(kind):
            assert item.metadata["help"], f"{kind.__name__}.{item.name}"


def test_as_dict_is_ready_for_json_and_complete():
    config = MMTRecipe()
    back = json.loads(json.dumps(as_dict(config)))
    assert back["pretrain"]["milestones"] == [40, 70]
    assert back["adapt"]["soft_triplet"] == 0.8
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            assert set(back[item.name]) == {inner.name for inner in fields(value)}


def test_the_weights_of_the_paper_are_the_defaults():
    """w_ce = 0.5 and w_tri = 0.8: hard terms are multiplied by 1 - w, soft ones by w (MMT, equation 9)."""
    adapt = AdaptConfig()
    assert (adapt.hard_ce + adapt.soft_ce, adapt.hard_triplet + adapt.soft_triplet) == (1, 1)
    assert (adapt.soft_ce, adapt.soft_triplet, adapt.ema_limit, adapt.smoothing) == (0.5, 0.8, 0.999, 0.1)
    assert (adapt.identities * adapt.images, adapt.rate, adapt.weight_decay) == (64, 3.5e-4, 5e-4)


def test_option_carries_its_limits():
    made = option(3, "text", choices=(3, 4), least=1, above=0)
    assert made.default == 3
    assert dict(made.metadata) == {"help": "text", "choices": (3, 4), "least": 1, "above": 0}
