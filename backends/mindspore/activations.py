"""Where networks look: the strength of each place of their last block; see core/report/heat.py."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor

from duoreid.backends.mindspore.learner import MindSporeLearner
from duoreid.backends.mindspore.networks import normalise
from duoreid.core.networks.backbones import backbone
from duoreid.core.report.heat import strength


def activations(learner: MindSporeLearner, images: np.ndarray) -> np.ndarray:
    """Images uint8 (B, H, W, 3), seen as they are in test mode -> float32 (M, B, h, w), of each embedding network.

    Nothing is compiled: it would take longer than the few pictures do.
    """
    arch = learner.config.network.arch
    x = normalise(Tensor(np.ascontiguousarray(images)), learner.runtime.dtype)
    maps = []
    for role in learner.spec.embedders:
        network, kept = learner.network(role), []
        last = dict(network.cells_and_names())[backbone(arch).stages[-1]]
        handle = last.register_forward_hook(lambda cell, inputs, output, kept=kept: kept.append(output))
        try:
            network.features(x, False)
        finally:
            handle.remove()
        maps.append(strength(kept[0].asnumpy(), arch))
    return np.stack(maps)
