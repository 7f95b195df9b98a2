"""MMT (Ge et al., ICLR 2020) and the codes made of it: SpCL, cluster-contrast, OpenUnReID."""

from __future__ import annotations

from duoreid.core.checkpoints.layouts.parts import (
    COUNTERS,
    EMBEDDING,
    RESNET_VARIANTS,
    STEM,
    TARGET_DOMAIN,
    TWO_DOMAINS,
)
from duoreid.core.networks.layouts import Layout, Reasons

REFUSED: Reasons = ((r"feat\.(weight|bias)|head\.feat_reduction\..*", EMBEDDING), *RESNET_VARIANTS)


def _sequence(name: str, first: int, *, stem_relu: bool, gem: bool = False) -> Layout:
    """Return the layout of a sequence conv1, bn1, [relu,] maxpool, layer1 to layer4 called `base`, then `feat_bn`.

    first: place of layer1 in the sequence. gem: with a learnt exponent of the pooling, `gap.p`.
    """
    stages = tuple((rf"^base\.{first + i}\.", f"layer{i + 1}.") for i in range(4))
    stem = ((r"^base\.0\.", "conv1."), (r"^base\.1\.", "bn1."), (r"^feat_bn\.", "neck."))
    return Layout(
        name,
        sign=r"gap\.p" if gem else rf"base\.{first + 3}\.0\.conv1\.weight",
        first=r"base\.0\.weight",
        renames=(*TARGET_DOMAIN, *stages, *stem, (r"^gap\.p$", "pooling.exponent")),
        ignored=(*TWO_DOMAINS, *COUNTERS),
        refused=REFUSED,
        settings={"stem_relu": stem_relu, "last_stride": 1, "pooling": "gem" if gem else "mean"},
    )


def _openunreid(name: str, *, gem: bool) -> Layout:
    return Layout(
        name,
        sign=r"global_pooling\.p" if gem else r"head\.feat_bn\.weight|head\.feat_bn\.dsbn\.0\.weight",
        first=rf"backbone\.{STEM}",
        renames=(
            (r"^backbone\.", ""),
            (r"^head\.feat_bn\.", "neck."),
            (r"\.dsbn\.[0-9]+\.", "."),
            (r"^global_pooling\.p$", "pooling.exponent"),
        ),
        ignored=(((r".*\.dsbn\.0\..*", "batch norm of the first domain"), *COUNTERS)),
        refused=((r".*\.dsbn\.[2-9]\..*", "batch norm of more than two domains"), *REFUSED),
        settings={"stem_relu": True, "last_stride": 1, "pooling": "gem" if gem else "mean"},
    )


LAYOUTS = (
    _sequence("cluster-contrast with GeM", 4, stem_relu=True, gem=True),
    _sequence("reference MMT, stem with ReLU, as in SpCL and cluster-contrast", 4, stem_relu=True),
    _sequence("reference MMT, stem without ReLU", 3, stem_relu=False),
    _openunreid("OpenUnReID with GeM", gem=True),
    _openunreid("OpenUnReID", gem=False),
)
