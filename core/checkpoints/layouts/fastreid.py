"""fast-reid (He et al., 2020): BoT, AGW and SBS, by their head."""

from __future__ import annotations

from duoreid.core.checkpoints.layouts.parts import COUNTERS, EMBEDDING, OWN_CLASSES, RESNET_VARIANTS, STEM
from duoreid.core.networks.images import DEVIATION, MEAN
from duoreid.core.networks.layouts import Layout

BEHIND_OWN_PIXELS = "the file's network expects other pixels than ImageNet's mean and deviation make"


def _fastreid(name: str, *, gem: bool) -> Layout:
    return Layout(
        name,
        sign=r"heads\.pool_layer\.p" if gem else r"heads\..*",
        first=rf"backbone\.{STEM}",
        renames=(
            (r"^backbone\.", ""),
            (r"^heads\.(bottleneck\.0|bnneck|bottleneck)\.", "neck."),
            (r"^heads\.pool_layer\.p$", "pooling.exponent"),
            (r"^heads\.(weight|classifier\.weight)$", "classifier.weight"),
        ),
        ignored=(
            (r"pixel_(mean|std)", "pixels that the file's network expects"),
            (r"heads\.(cls_layer|classifier)\.(s|m|t|bias)", OWN_CLASSES),
            *COUNTERS,
        ),
        refused=((r"heads\.bottleneck\.1\..*", EMBEDDING), *RESNET_VARIANTS),
        settings={
            "stem_relu": True,
            "last_stride": 1,
            "stem_pool": "end",
            "pooling": "gem" if gem else "mean",
        },
        cautions=(
            "files before fast-reid 1.0 pool the stem with padding on both sides: for these give --stem-pool both",
            "a head whose pooling has a fixed exponent, or takes the maximum, leaves no trace in the file",
        ),
        images=(
            ("pixel_mean", tuple(255 * mean for mean in MEAN), BEHIND_OWN_PIXELS),
            ("pixel_std", tuple(255 * deviation for deviation in DEVIATION), BEHIND_OWN_PIXELS),
        ),
    )


LAYOUTS = (_fastreid("fast-reid with GeM (SBS, AGW)", gem=True), _fastreid("fast-reid (BoT)", gem=False))
