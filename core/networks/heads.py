"""What stands around a backbone, as data: neck, classifier, information bottleneck, channel attention.

Every network has a BNNeck (Luo et al., CVPRW 2019) and a linear classifier without bias behind the pooled feature:
`neck.*` and `classifier.weight`. A network of MVD (Tian et al., CVPR 2021) also has an information bottleneck,
`bottleneck.*`: v -> 1000 -> 500 -> z with batch norm and ReLU between, and a classifier of z with one hidden layer. A
linear layer in front of a batch norm has no bias, which the norm would remove. MVD's public codes have it all the same,
and a bias in the classifier of v, and the MindSpore port trains the neck's bias: see `Heads`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from duoreid.core.networks.tensors import Entry, norm

GEM_FLOOR = 1e-6
"""Numbers below it count as it in a generalised mean: powers of 0 have no gradient with respect to the exponent."""

NECK = "neck.weight"
"""A tensor that every network has: by it files and states tell which networks they hold."""

BOTTLENECK_WIDTHS = (1000, 500)
"""Channels between v and z."""

HEAD_WIDTH = 256
"""Channels of the hidden layer between z and its classes; dropout acts on these."""

CLASSIFIERS = ("classifier.weight", "classifier.bias")
"""Ends of the names of tensors with one row for each class."""

GRANULE = 64
"""Classifiers grow to a multiple of so many rows: each growth costs a backend that compiles a new compilation."""


class Heads(NamedTuple):
    """What may differ in the layers behind a backbone.

    representation: dimension of z, 0 for no bottleneck. biases: also in the classifier of v and in linear layers in
    front of a norm. neck_bias: the neck's bias is trained; else it stays at 0.
    """

    representation: int = 0
    biases: bool = False
    neck_bias: bool = False


PLAIN = Heads()
"""A neck and a classifier, as every method but MVD has them."""


def neck_and_classifier(features: int, capacity: int, chosen: Heads = PLAIN) -> Iterator[Entry]:
    """Behind a pooled feature of some width. capacity: rows of the classifier."""
    yield from _heads(norm("neck", features, frozen_bias=not chosen.neck_bias))
    yield Entry("classifier.weight", (capacity, features), "classifier", head=True)
    if chosen.biases:
        yield Entry("classifier.bias", (capacity,), "zeros", head=True)


def bottleneck(features: int, capacity: int, chosen: Heads) -> Iterator[Entry]:
    """Behind the neck."""
    representation = chosen.representation
    widths = (features, *BOTTLENECK_WIDTHS, representation)
    for index, (inputs, outputs) in enumerate(pairwise(widths), start=1):
        yield Entry(f"bottleneck.linear{index}.weight", (outputs, inputs), "linear", head=True)
        if index < len(widths) - 1:
            if chosen.biases:
                yield Entry(f"bottleneck.linear{index}.bias", (outputs,), "zeros", head=True)
            yield from _heads(norm(f"bottleneck.bn{index}", outputs))
    yield Entry(f"bottleneck.linear{len(widths) - 1}.bias", (representation,), "zeros", head=True)
    yield Entry("bottleneck.hidden.weight", (HEAD_WIDTH, representation), "linear", head=True)
    if chosen.biases:
        yield Entry("bottleneck.hidden.bias", (HEAD_WIDTH,), "zeros", head=True)
    yield from _heads(norm("bottleneck.hidden_bn", HEAD_WIDTH))
    yield Entry("bottleneck.classifier.weight", (capacity, HEAD_WIDTH), "classifier", head=True)
    yield Entry("bottleneck.classifier.bias", (capacity,), "zeros", head=True)


def _heads(entries: Iterable[Entry]) -> Iterator[Entry]:
    return (entry._replace(head=True) for entry in entries)


def channel_attention(layer: int) -> Entry:
    """The weight of channel attention before a layer of a backbone: it starts without effect."""
    return Entry(f"attention{layer}.gamma", (1,), "zeros")


def gem() -> Entry:
    """The exponent of a generalised mean over places (GeM; Radenovic et al., TPAMI 2019), learnt, 3 at first."""
    return Entry("pooling.exponent", (1,), "exponent")


def rows_for(classes: int) -> int:
    """Return the rows of a classifier that has to grow for so many classes."""
    return -(-classes // GRANULE) * GRANULE


def grow_classifiers(state: Mapping[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """Return the state with classifiers of so many rows, their moments included: the new rows are 0.

    state: as `Learner.export_state` returns it; its arrays are shared with the result. Raises ValueError where a
    classifier has more rows already.
    """
    grown = dict(state)
    for name, value in state.items():
        if not name.endswith(CLASSIFIERS):
            continue
        if len(value) > rows:
            raise ValueError(f"{name} has {len(value)} rows and cannot grow to {rows}: some of them may be live.")
        added = np.zeros((rows - len(value), *value.shape[1:]), value.dtype)
        grown[name] = np.concatenate([value, added])
    return grown
