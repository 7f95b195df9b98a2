"""Features as a trained network gives them, made from a seed: the data of the algorithm benchmarks.

An image's feature is a low-dimensional latent, mapped linearly into D dimensions and L2-normalised. The latent is the
sum of what the identity looks like (identities share looks: many wear the same colours), a tint of the camera, and
noise whose strength differs from image to image (blur, occlusion). Images are in the order of real file names: by
identity. The constants put mAP, rank-1 and the sizes of the k-reciprocal sets near those of a trained network on
Market-1501.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duoreid.core.random import rng

LATENT, LOOKS = 96, 40
LOOK, OWN, CAMERA, NOISE, SPREAD, FLOOR = 0.7, 0.7, 0.3, 0.85, 0.35, 0.25


@dataclass(frozen=True)
class Labelled:
    """features: L2-normalised float32 (N, D); identities, cameras: int64 (N,)."""

    features: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray


def clustered(count: int, identities: int, *, width: int = 2048, cameras: int = 6, seed: int = 0) -> Labelled:
    """Draw `count` images of `identities` people, sorted by identity; people differ in how often they appear."""
    random = rng(seed, "benchmark features")
    popularity = random.gamma(3.0, size=identities)
    spare = random.choice(identities, size=count - identities, p=popularity / popularity.sum())
    member = np.sort(np.concatenate([np.arange(identities), spare]))
    camera = random.integers(cameras, size=count)
    looks = random.normal(size=(LOOKS, LATENT))
    people = LOOK * looks[random.integers(LOOKS, size=identities)] + OWN * random.normal(size=(identities, LATENT))
    tints = CAMERA * random.normal(size=(cameras, LATENT))
    to_features = (random.normal(size=(LATENT, width)) / np.sqrt(width)).astype(np.float32)
    features = np.empty((count, width), np.float32)
    for start in range(0, count, 4096):
        part = slice(start, min(start + 4096, count))
        rows = part.stop - part.start
        strength = NOISE * np.exp(SPREAD * random.normal(size=(rows, 1)))
        latent = people[member[part]] + tints[camera[part]] + strength * random.normal(size=(rows, LATENT))
        block = latent.astype(np.float32) @ to_features
        block += FLOOR * random.standard_normal(block.shape, dtype=np.float32) * np.sqrt(np.float32(LATENT / width) / 4)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        features[part] = block
    return Labelled(features, member, camera)


def query_and_gallery(
    queries: int, gallery: int, identities: int, *, width: int = 2048, cameras: int = 6, seed: int = 0
) -> tuple[Labelled, Labelled]:
    """Draw a test set: of the images of all people, `queries` at random become queries, in order."""
    both = clustered(queries + gallery, identities, width=width, cameras=cameras, seed=seed)
    chosen = np.zeros(queries + gallery, bool)
    chosen[rng(seed, "benchmark queries").choice(queries + gallery, size=queries, replace=False)] = True
    return tuple(Labelled(both.features[rows], both.identities[rows], both.cameras[rows]) for rows in (chosen, ~chosen))
