"""Recipes by name: the default one for the synthetic pair, and those of MMT's paper for the real datasets.

Source of the latter: Ge, Chen, Li, "Mutual Mean-Teaching", ICLR 2020, section 4.1, and the public code where the
paper is silent (the target batch of stage 1, the stem without ReLU, batch norm over 16 images on each of four GPUs).
"""

from __future__ import annotations

from dataclasses import replace

from core.config import AdaptConfig, Config, DataConfig, NetworkConfig, PretrainConfig, RunConfig

SYNTHETIC = Config(
    preset="synthetic",
    data=DataConfig(),
    network=NetworkConfig(arch="tiny"),
    pretrain=PretrainConfig(epochs=8, iterations=60, warmup_epochs=1, milestones=(6,), rate=1e-3, padding=3),
    adapt=AdaptConfig(epochs=8, iterations=60, clusters=120, rate=3.5e-4, padding=3, erase=0.3, ema_limit=0.99),
    run=RunConfig(),
)

# target -> (K of k-means that the paper found best or near it)
TRANSFERS = {
    ("market", "duke"): 700,
    ("duke", "market"): 500,
    ("market", "msmt17"): 1500,
    ("duke", "msmt17"): 1500,
}
DATASETS = {"market": "market1501", "duke": "dukemtmc", "msmt17": "msmt17"}


def _published(source: str, target: str, arch: str, clusters: int) -> Config:
    return Config(
        preset=f"mmt-{'ibn' if arch.endswith('ibn_a') else 'resnet50'}-{source}-{target}",
        data=DataConfig(source=DATASETS[source], target=DATASETS[target], height=256, width=128),
        network=NetworkConfig(arch=arch, stem_relu=arch != "resnet50", batch_norm_group=16),
        pretrain=PretrainConfig(epochs=80, iterations=100),
        adapt=AdaptConfig(
            epochs=40,
            iterations=400,
            clusters=clusters,
            erase=0.5,
            erase_fill="reference",
            eps_share=0.7e-3 if target == "msmt17" else 1.6e-3,
        ),
    )


def presets() -> dict[str, Config]:
    """Return every recipe by name."""
    found = [SYNTHETIC]
    for (source, target), clusters in TRANSFERS.items():
        found += [_published(source, target, arch, clusters) for arch in ("resnet50", "resnet50_ibn_a")]
    return {config.preset: config for config in found}


def with_seed(config: Config, seed: int) -> Config:
    """Return the same recipe under another seed."""
    return replace(config, run=replace(config.run, seed=seed))
