"""Where networks look: the strength of each place of their last block; see core/report/heat.py."""

from __future__ import annotations

import numpy as np
import torch

from duoreid.backends.torch.learner import TorchLearner
from duoreid.backends.torch.networks import normalise
from duoreid.core.networks.backbones import backbone
from duoreid.core.report.heat import strength


@torch.no_grad()
def activations(learner: TorchLearner, images: np.ndarray) -> np.ndarray:
    """Images uint8 (B, H, W, 3), seen as they are in test mode -> float32 (M, B, h, w), of each embedding network."""
    arch = learner.config.network.arch
    x = normalise(learner._to_device(images), learner.runtime.dtype)
    maps = []
    for role in learner.spec.embedders:
        network, kept = learner.networks[role], []
        last = network.get_submodule(backbone(arch).stages[-1])
        handle = last.register_forward_hook(lambda module, inputs, output, kept=kept: kept.append(output))
        network.eval()
        try:
            with learner._autocast():
                network.features(x)
        finally:
            network.train()
            handle.remove()
        maps.append(strength(kept[0].float().cpu().numpy(), arch))
    return np.stack(maps)
