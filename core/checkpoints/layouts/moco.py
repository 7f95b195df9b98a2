"""Unsupervised pre-training: MoCo v1 and v2 (He et al., CVPR 2020), LUPerson (Fu et al., CVPR 2021) and LUPerson-NL."""

from __future__ import annotations

from duoreid.core.checkpoints.layouts.parts import COUNTERS, RESNET_VARIANTS, STEM
from duoreid.core.networks.layouts import Layout

LAYOUTS = (
    Layout(
        "MoCo and LUPerson",
        sign=r"encoder_q\.bn1\.running_mean",
        first=rf"encoder_q\.{STEM}",
        renames=((r"^encoder_q\.", ""),),
        ignored=(
            (r"encoder_k\..*", "its slow copy"),
            (r"queue.*|.*_queue.*|queue_ptr", "queue of keys"),
            (r"encoder_q\.fc\..*|encoder_q\.(mlp|proj.*|classifier)\..*", "projection for its own loss"),
            (r"(classifier|prototypes|cls_net|association).*", "heads of its own losses"),
            *COUNTERS,
        ),
        refused=RESNET_VARIANTS,
        settings={"stem_relu": True},
    ),
)
