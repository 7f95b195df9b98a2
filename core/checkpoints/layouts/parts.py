"""What the layouts of several publishers share."""

from __future__ import annotations

from duoreid.core.networks.layouts import COUNTERS, Reasons, Renames

STEM = r"conv1\.weight"
SPLIT = r"layer1\.0\.bn1\.IN\.weight"
"""A name that only networks with IBN-Net's split normalisation have."""

OWN_CLASSES = "classifier of the file's own classes"

RESNET_VARIANTS: Reasons = (
    (r"(.*\.)?conv1\.[0-9]\..*|(.*\.)?conv1_[0-9]\..*", "a stem of three convolutions (ResNet-C, -D, SE-ResNet)"),
    (r"(.*\.)?layer[1-4]\.[0-9]+\.(se|se_dense_[01]|fc[12])\..*", "squeeze-and-excitation (SE-ResNet)"),
    (r"(.*\.)?NL_[1-4]\..*", "non-local blocks"),
    (r"(.*\.)?b[1-3]\..*|(.*\.)?b[1-3][1-3]_(head|pool)\..*", "the branches of MGN"),
    (r"(.*\.)?classifier[0-9]\..*", "the parts of PCB"),
)
"""Relatives of the plain residual networks, by the names that give them away."""

TWO_DOMAINS: Reasons = ((r".*\.BN_S\..*", "batch norm of the source domain"),)
TARGET_DOMAIN: Renames = ((r"\.BN_T\.", "."),)
"""SpCL's domain-specific batch norm: the target's is what its own tests use."""

EMBEDDING = "an embedding layer between the pooled feature and the neck, which networks of this library have not"

__all__ = [
    "COUNTERS",
    "EMBEDDING",
    "OWN_CLASSES",
    "RESNET_VARIANTS",
    "SPLIT",
    "STEM",
    "TARGET_DOMAIN",
    "TWO_DOMAINS",
]
