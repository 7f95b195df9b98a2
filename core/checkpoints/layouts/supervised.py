"""Supervised re-identification: reid-strong-baseline, torchreid, Person_reID_baseline_pytorch (layumi)."""

from __future__ import annotations

from duoreid.core.checkpoints.layouts.parts import COUNTERS, EMBEDDING, OWN_CLASSES, RESNET_VARIANTS, STEM
from duoreid.core.networks.layouts import Layout


def _strong(name: str, *, ibn: bool) -> Layout:
    """Return the layout of Luo et al. (CVPRW 2019). ibn: with it the stem has a ReLU; the plain network has none."""
    return Layout(
        name,
        sign=r"base\.layer1\.0\.bn1\.IN\.weight" if ibn else r"base\.bn1\.running_mean",
        first=rf"base\.{STEM}",
        renames=((r"^base\.", ""), (r"^(bottleneck|bnneck)\.", "neck.")),
        ignored=((r"classifier\.bias", OWN_CLASSES), (r"base\.fc\..*", OWN_CLASSES), *COUNTERS),
        refused=RESNET_VARIANTS,
        settings={"stem_relu": ibn, "last_stride": 1},
        cautions=("its own tests may take the feature before the neck: this library's come behind it",),
    )


LAYOUTS = (
    _strong("reid-strong-baseline, IBN-Net-a", ibn=True),
    _strong("reid-strong-baseline", ibn=False),
    Layout(
        "Person_reID_baseline_pytorch",
        sign=r"classifier\.add_block\.0\.weight",
        first=rf"model\.{STEM}",
        renames=((r"^model\.", ""),),
        ignored=(
            (r"model\.fc\..*", "ImageNet's classifier"),
            (r"classifier\.add_block\..*", "an embedding layer behind the pooled feature"),
            (r"classifier\.classifier\..*", OWN_CLASSES),
            *COUNTERS,
        ),
        refused=RESNET_VARIANTS,
        settings={"stem_relu": True, "last_stride": 2},
        cautions=(
            "its own tests take the feature behind its embedding layer: this one is the pooled feature before it",
            "with its option --stride 1 it was trained at --last-stride 1, which the file does not tell",
        ),
    ),
    Layout(
        "torchreid ResNet",
        sign=r"classifier\.bias",
        first=STEM,
        ignored=((r"classifier\.(weight|bias)", OWN_CLASSES), *COUNTERS),
        refused=((r"fc\.[0-9]+\..*", EMBEDDING), *RESNET_VARIANTS),
        settings={"stem_relu": True, "last_stride": 2},
    ),
)
