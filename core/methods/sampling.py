"""Which rows a batch holds: P identities times K images, keyed so that a resumed run draws the same.

Shuffled passes: every identity (or row) comes once before any comes again, and never twice in one batch. MMT's own
rules, which differ, are `reference_batches`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from duoreid.core.data import INFRARED, VISIBLE
from duoreid.core.errors import UserError
from duoreid.core.random import rng

LARGEST_BATCH, LARGEST_EPOCH = 1 << 16, 1 << 27
"""Images beyond which a slip of the keyboard would take the machine's whole memory."""


def identity_batches(
    labels: np.ndarray,
    cameras: np.ndarray,
    *,
    identities: int,
    images: int,
    iterations: int,
    seed: int,
    epoch: int,
    purpose: str = "sampling",
) -> np.ndarray:
    """Return the rows of an epoch's batches, int64 (iterations, P * K): P identities, K images of each in turn.

    labels, cameras: integers (N,). Rows with label -1 (outliers, unknown identities) are left out.
    identities, images: P and K. The K images of an identity are one drawn at random, then images of other cameras
    than that one's, then those of its camera. No image comes twice unless the identity has fewer than K: then all
    of them come, and the rest is drawn among them with replacement.
    Raises UserError (a ValueError) where fewer than P identities are left.

    MMT's own sampler, `reference_batches`, repeats images of other cameras rather than take one of the same camera;
    here every image counts once first.
    """
    groups, cameras = _labelled(labels, cameras, identities=identities, images=images, iterations=iterations)
    generator = rng(seed, purpose, epoch)
    draws = _passes(len(groups.identities), identities, iterations, generator).ravel()
    return _pick(groups, draws, images, cameras, generator).reshape(iterations, identities * images)


def reference_batches(
    labels: np.ndarray,
    cameras: np.ndarray,
    *,
    identities: int,
    images: int,
    iterations: int,
    seed: int,
    epoch: int,
    purpose: str = "sampling",
) -> np.ndarray:
    """Return the rows of an epoch's batches, int64 (iterations, P * K), drawn by the rules of MMT's public code.

    Arguments as of `identity_batches`. A pass is all identities in a random order, independent of other passes. Of
    each identity come one image at random and K - 1 of other cameras than its; where all are of one camera, K - 1
    others of that. They come without replacement if there are at least K to choose from, else with. An identity of one
    image comes once, so that groups behind it lie across the borders of batches. A pass is cut every P * K rows, and
    its last, incomplete batch is dropped; the next pass begins.
    Raises UserError (a ValueError) where fewer than P identities are left or a pass does not fill a batch.
    Source: the sampler, loader and iterator of Ge, Chen, Li, "Mutual Mean-Teaching", ICLR 2020, public code.
    """
    groups, cameras = _labelled(labels, cameras, identities=identities, images=images, iterations=iterations)
    size, length = identities * images, int(np.where(groups.counts > 1, images, 1).sum())
    if length < size:
        lonely = int((groups.counts == 1).sum())
        raise UserError(
            f"A pass over {len(groups.counts)} identities has {length} images, too few for a batch of {size}: {lonely} "
            "have but one image, which this sampler takes once. Take fewer identities a batch or another sampler."
        )
    generator = rng(seed, purpose, epoch)
    batches: list[np.ndarray] = []
    while len(batches) < iterations:
        order = generator.permutation(len(groups.counts))
        stream = np.concatenate([_reference_group(groups, i, images, cameras, generator) for i in order])
        batches.extend(stream[: length // size * size].reshape(-1, size))
    return np.stack(batches[:iterations])


def _reference_group(
    groups: _Groups, which: int, images: int, cameras: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Return K rows of one identity, or its only one."""
    rows = groups.rows[groups.starts[which] : groups.starts[which] + groups.counts[which]]
    first = generator.integers(len(rows))
    partners = rows[cameras[rows] != cameras[rows[first]]]
    if not len(partners):
        partners = np.delete(rows, first)
    if not len(partners) or images == 1:
        return rows[[first]]
    return np.append(rows[first], generator.choice(partners, images - 1, replace=len(partners) < images))


SAMPLERS = {"passes": identity_batches, "reference": reference_batches}
"""How batches of P identities with K images are drawn; "reference": as in the public code of MMT."""


def cross_modality_batches(
    labels: np.ndarray,
    modalities: np.ndarray,
    *,
    identities: int,
    images: int,
    iterations: int,
    seed: int,
    epoch: int,
    purpose: str = "sampling",
) -> np.ndarray:
    """Return int64 (iterations, 2, P * K): at [:, 0] the rows of visible images, at [:, 1] of infrared ones.

    labels: integers (N,). modalities: (N,), VISIBLE or INFRARED. Column by column both views show one identity;
    each of the P identities has K columns. Rows with label -1 and identities that lack a modality are left out.
    Images repeat only where an identity has fewer than K in a modality.
    Raises UserError (a ValueError) where fewer than P identities are left.
    """
    labels = np.asarray(labels)
    visible, infrared = _paired_groups(labels, modalities, identities=identities, images=images, iterations=iterations)
    generator = rng(seed, purpose, epoch)
    draws = _passes(len(visible.identities), identities, iterations, generator).ravel()
    one_camera = np.zeros(len(labels), dtype=np.int64)
    picks = [_pick(groups, draws, images, one_camera, generator) for groups in (visible, infrared)]
    return np.stack([rows.reshape(iterations, identities * images) for rows in picks], axis=1)


def independent_cross_modality_batches(
    labels: np.ndarray,
    modalities: np.ndarray,
    *,
    identities: int,
    images: int,
    iterations: int,
    seed: int,
    epoch: int,
    purpose: str = "sampling",
) -> np.ndarray:
    """Return int64 (iterations, 2, P * K), drawn by the rules of MVD's MindSpore port.

    Arguments, result and errors as of `cross_modality_batches`. Every batch is drawn by itself: P different identities
    at random, and of each K images of each modality at random with replacement, so that an image may come twice and
    some never in an epoch.
    Source: the sampler of the MindSpore port of Tian et al., "Farewell to Mutual Information", CVPR 2021.
    """
    visible, infrared = _paired_groups(labels, modalities, identities=identities, images=images, iterations=iterations)
    generator = rng(seed, purpose, epoch)
    count = len(visible.identities)
    draws = generator.random((iterations, count)).argsort(axis=1)[:, :identities]
    owners = np.repeat(draws, images, axis=1)
    picks = []
    for groups in (visible, infrared):
        within = (generator.random(owners.shape) * groups.counts[owners]).astype(np.int64)
        picks.append(groups.rows[groups.starts[owners] + within])
    return np.stack(picks, axis=1)


CROSS_MODALITY_SAMPLERS = {"passes": cross_modality_batches, "independent": independent_cross_modality_batches}
"""How batches of P identities with K images of each modality are drawn."""


def shuffled_batches(
    rows: np.ndarray, size: int, iterations: int, *, seed: int, epoch: int, purpose: str = "sampling"
) -> np.ndarray:
    """Return int64 (iterations, size) of the given rows in shuffled passes, for batches without labels.

    rows: integers (N,). Raises UserError (a ValueError) where there are fewer rows than `size`.
    """
    rows = np.asarray(rows, dtype=np.int64)
    _check_sizes(size=size, iterations=iterations)
    if len(rows) < size:
        raise UserError(f"A batch needs {size} images, but there are {len(rows)}: take a smaller batch or more data.")
    return rows[_passes(len(rows), size, iterations, rng(seed, purpose, epoch))]


class _Groups(NamedTuple):
    """Rows by identity: those of identities[i] are rows[starts[i] : starts[i] + counts[i]]."""

    identities: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    rows: np.ndarray


def _paired_groups(labels: np.ndarray, modalities: np.ndarray, **sizes: int) -> tuple[_Groups, _Groups]:
    """Return the visible and the infrared rows by identity, of the same identities, or raise where that cannot be."""
    labels, modalities = np.asarray(labels), np.asarray(modalities)
    if modalities.shape != labels.shape:
        raise ValueError(
            f"Each row needs a label and a modality, but there are {labels.shape} labels and {modalities.shape} "
            "modalities."
        )
    _check_sizes(**sizes)
    in_both = np.intersect1d(labels[modalities == VISIBLE], labels[modalities == INFRARED])
    usable = np.isin(labels, in_both) & (labels != -1)
    visible = _group(labels, usable & (modalities == VISIBLE))
    infrared = _group(labels, usable & (modalities == INFRARED))
    both = " with both visible and infrared images"
    _check_identities(len(visible.identities), sizes["identities"], sizes["images"], both)
    return visible, infrared


def _labelled(labels: np.ndarray, cameras: np.ndarray, **sizes: int) -> tuple[_Groups, np.ndarray]:
    """Return the rows by identity and the cameras, or raise where sizes, shapes or numbers of identities do not fit."""
    labels, cameras = np.asarray(labels), np.asarray(cameras)
    if cameras.shape != labels.shape:
        raise ValueError(
            f"Each row needs a label and a camera, but there are {labels.shape} labels and {cameras.shape} cameras."
        )
    _check_sizes(**sizes)
    groups = _group(labels, labels != -1)
    _check_identities(len(groups.identities), sizes["identities"], sizes["images"])
    return groups, cameras


def _group(labels: np.ndarray, usable: np.ndarray) -> _Groups:
    rows = np.flatnonzero(usable)
    rows = rows[np.argsort(labels[rows], kind="stable")]
    identities, starts, counts = np.unique(labels[rows], return_index=True, return_counts=True)
    return _Groups(identities, starts, counts, rows)


def _passes(count: int, size: int, iterations: int, generator: np.random.Generator) -> np.ndarray:
    """Return int64 (iterations, size) of 0 to count - 1 in shuffled passes, without repetition inside a batch.

    A batch that one pass leaves open is filled with the first of the next that it does not hold yet.
    """
    drawn = np.empty(0, dtype=np.int64)
    chunks, total = [], 0
    while total < iterations * size:
        order = generator.permutation(count)
        filled = total % size
        if filled:
            fresh = order[~np.isin(order, drawn[len(drawn) - filled :])][: size - filled]
            order = np.concatenate([fresh, order[~np.isin(order, fresh)]])
        drawn = order
        chunks.append(order)
        total += count
    return np.concatenate(chunks)[: iterations * size].reshape(iterations, size)


def _pick(
    groups: _Groups, draws: np.ndarray, images: int, cameras: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Return int64 (len(draws), K): for each drawn group, one row, others of other cameras, then the rest.

    All candidates of all draws lie behind one another; two sorts order those of each draw.
    """
    counts = groups.counts[draws]
    ends = np.cumsum(counts)
    begins = ends - counts
    owner = np.repeat(np.arange(len(draws)), counts)
    within = np.arange(ends[-1]) - begins[owner]
    candidates = groups.rows[groups.starts[draws][owner] + within]
    shuffled = candidates[np.lexsort((generator.random(len(candidates)), owner))]
    same_camera = cameras[shuffled] == cameras[shuffled[begins]][owner]
    ordered = shuffled[np.lexsort((same_camera & (within > 0), owner))]
    position = np.arange(images)[None, :]
    again = (generator.random((len(draws), images)) * counts[:, None]).astype(np.int64)
    return ordered[begins[:, None] + np.where(position < counts[:, None], position, again)]


def _check_sizes(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, but is {value}.")
    batch = math.prod(value for name, value in sizes.items() if name != "iterations")
    if batch > LARGEST_BATCH or batch * sizes["iterations"] > LARGEST_EPOCH:
        given = ", ".join(f"{name} {value:,}" for name, value in sizes.items())
        raise UserError(
            f"{given} make batches of {batch:,} images and epochs of {batch * sizes['iterations']:,}: at most "
            f"{LARGEST_BATCH:,} and {LARGEST_EPOCH:,} are planned. Take fewer."
        )


def _check_identities(available: int, identities: int, images: int, which: str = "") -> None:
    if available < identities:
        raise UserError(
            f"A batch needs {identities} identities of {images} images each, but there are only {available}{which}: "
            "take a smaller number of identities a batch, more data or, for pseudo-labels, more clusters."
        )
