"""The methods, one entry each. A new method is an entry here, and the files that it names (docs/extending.md)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from duoreid.core.errors import unknown
from duoreid.core.losses.objectives import mutual_mean_teaching, supervised, variational_distillation
from duoreid.core.methods.adaptation import Adaptation
from duoreid.core.methods.mvd import MVD, bottleneck_hints, variational_tensors
from duoreid.core.methods.source import Source
from duoreid.core.methods.spec import MethodSpec
from duoreid.core.settings.cross_modal import MVDRecipe
from duoreid.core.settings.published import of_cross_modal, of_transfer
from duoreid.core.settings.transfer import BaselineRecipe, MMTRecipe, SourceRecipe

_TRANSFER = {
    "default_preset": "synthetic",
    "pipeline": "transfer",
    "datasets": ("source", "target"),
    "prefixes": {"pretrain": "pretrain_"},
    "published": of_transfer,
}
"""What the methods around adaptation share."""

METHODS: dict[str, MethodSpec] = {
    spec.name: spec
    for spec in (
        MethodSpec(
            name="source",
            about="stage 1 alone: supervised training on the source, tested on the target",
            recipe=SourceRecipe,
            stages=("pretrain",),
            host=Source,
            students=("student",),
            views="images of the source, and perhaps of the target for its batch norm",
            view_counts=(1, 2),
            oracle=supervised,
            **_TRANSFER,
        ),
        MethodSpec(
            name="baseline",
            about="stage 1, then one network on hard pseudo-labels of the target",
            recipe=BaselineRecipe,
            stages=("pretrain", "adapt"),
            host=partial(Adaptation, views=1),
            students=("student",),
            pseudo_labels=True,
            views="one augmentation",
            view_counts=(1,),
            oracle=supervised,
            **_TRANSFER,
        ),
        MethodSpec(
            name="mmt",
            about="stage 1 twice, then Mutual Mean-Teaching on the target",
            recipe=MMTRecipe,
            stages=("pretrain", "adapt"),
            host=partial(Adaptation, views=2),
            students=("student1", "student2"),
            teachers=("teacher1", "teacher2"),
            pseudo_labels=True,
            views="two augmentations, one for each student and its teacher",
            view_counts=(2,),
            oracle=mutual_mean_teaching,
            examples=(
                "--source market1501 --target dukemtmc --data /data --preset mmt-resnet50-market-duke --weights FILE",
                "--clustering dbscan --epochs 20 --seed 2",
            ),
            **_TRANSFER,
        ),
        MethodSpec(
            name="mvd",
            about="Multi-view Variational Distillation: visible-infrared matching",
            recipe=MVDRecipe,
            default_preset="synthetic-vi",
            stages=("mvd",),
            pipeline="cross-modal",
            datasets=("dataset",),
            host=MVD,
            students=("visible", "infrared", "shared"),
            joint=True,
            modalities=2,
            views="visible images, then infrared ones",
            view_counts=(2,),
            tensors=variational_tensors,
            hints=bottleneck_hints,
            oracle=variational_distillation,
            examples=("--preset mvd-sysu --data /data --weights FILE", "--objective id+tri --epochs 20"),
            published=of_cross_modal,
        ),
    )
}

DEFAULT = "mmt"
"""What is trained where no method is named."""

SINGLE = "source"
"""The method whose learner holds one network and nothing else: it embeds networks by themselves."""


def spec_of(method: str) -> MethodSpec:
    """Return the entry of a method; UserError names the known ones."""
    if not isinstance(method, str) or method not in METHODS:
        raise unknown("method", str(method), METHODS)
    return METHODS[method]


def holder_of(roles: Iterable[str], method: str = "", *, joint: bool | None = None) -> MethodSpec | None:
    """Return the method whose networks are just these: the named one where it is, else the first, None for none.

    joint: consider only methods whose networks make one feature together, or only the others.
    """
    wanted = set(roles)
    first = [METHODS[method]] if method in METHODS else []
    fitting = (spec for spec in (*first, *METHODS.values()) if set(spec.all) == wanted)
    return next((spec for spec in fitting if joint is None or spec.joint == joint), None)
