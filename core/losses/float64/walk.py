"""A network as a list of its layers: a layer's output from the outputs before it.

Given the outputs that a backend reports, a stage tells what it should have made of its own inputs: the error that this
layer introduces, free of what it inherits. Given nothing but the images, the stages in order are the whole network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from duoreid.core.losses.float64.operations import (
    EPSILON,
    MOMENTUM,
    attend,
    by_groups,
    convolve,
    generalised_mean,
    max_pool,
    normalise,
)

Outputs = Mapping[str, np.ndarray]


class Stage(NamedTuple):
    """One layer, or one running statistic. rule: what it computes, in words. compute: outputs by name -> its own."""

    name: str
    rule: str
    compute: Callable[[Outputs], np.ndarray]


class Source(NamedTuple):
    """What a layer takes. text: in words. of: outputs by name -> its input, float64."""

    text: str
    of: Callable[[Outputs], np.ndarray]


class Choosing(NamedTuple):
    """A ReLU, leaky or not, or a pooled maximum (`windows`, perhaps unevenly padded), by what comes before it."""

    before: Source
    windows: bool
    uneven: bool = False


def output(name: str) -> Source:
    """The output of a layer."""
    return Source(name, lambda outputs: np.asarray(outputs[name], np.float64))


class Walk:
    """Collects the stages of one network, in forward order; each method adds one and returns its output.

    tensors: the network's, float64, by canonical name. train: batch norm takes the statistics of `group` images (0: of
    all) and moves its running ones, which are stages too. choosing: the ReLUs and pooled maxima in the order in which
    they run.
    """

    def __init__(self, tensors: Outputs, *, train: bool, group: int = 0) -> None:
        self.tensors = {name: np.asarray(value, np.float64) for name, value in tensors.items()}
        self.train, self.group = train, group
        self.stages: list[Stage] = []
        self.choosing: list[Choosing] = []

    def add(self, name: str, rule: str, compute: Callable[[Outputs], np.ndarray]) -> Source:
        """Add any layer. rule: what it computes, in words."""
        self.stages.append(Stage(name, rule, compute))
        return output(name)

    def chosen(self, before: Source, *, windows: bool = False, uneven: bool = False) -> Source:
        """Note that a ReLU, or pooling, takes this; return it."""
        self.choosing.append(Choosing(before, windows, uneven))
        return before

    def relu(self, source: Source) -> Source:
        """Max(x, 0): no stage of its own, but part of what comes next."""
        before = self.chosen(source)
        return Source(f"relu({before.text})", lambda outputs: np.maximum(before.of(outputs), 0))

    def convolve(
        self, name: str, source: Source, stride: int = 1, padding: int | None = None, *, uneven: bool = False
    ) -> Source:
        """A square convolution without bias. padding: half its size unless given. uneven: as `same_padding` instead."""
        weight = self.tensors[f"{name}.weight"]
        size = weight.shape[2]
        border = size // 2 if padding is None else padding
        padded = "'same'" if uneven else border
        rule = f"{size}x{size} convolution of {source.text}, stride {stride}, padding {padded}"
        return self.add(name, rule, lambda outputs: convolve(source.of(outputs), weight, stride, border, uneven=uneven))

    def linear(self, name: str, source: Source) -> Source:
        """(B, D) -> (B, O), with a bias where there is a tensor for it."""
        weight, bias = self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias", 0.0)
        rule = f"product of {source.text} with {name}.weight"
        return self.add(name, rule, lambda outputs: source.of(outputs) @ weight.T + bias)

    def batch_norm(self, name: str, source: Source, epsilon: float = EPSILON, momentum: float = MOMENTUM) -> Source:
        """Over all axes but the channels; in training also its running statistics."""
        scale, shift, mean, var = (
            self.tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        if not self.train:
            rule = f"{source.text} normalised by the running statistics, epsilon {epsilon}"
            return self.add(name, rule, lambda outputs: normalise(source.of(outputs), mean, var, scale, shift, epsilon))
        group = self.group
        rule = f"{source.text} normalised by the statistics of {group or 'all'} images, epsilon {epsilon}"
        normalised = self.add(
            name, rule, lambda outputs: by_groups(source.of(outputs), group, scale, shift, epsilon=epsilon)[0]
        )
        for kind, old, index in (("running_mean", mean, 1), ("running_var", var, 2)):
            unbiased = " (unbiased)" if index == 2 else ""
            rule = f"(1 - {momentum}) old + {momentum} the batch's{unbiased}, of {source.text}"
            self.add(f"{name}.{kind}", rule, _moved(source, group, old, index, momentum))
        return normalised

    def split_norm(self, name: str, source: Source) -> Source:
        """IBN-Net-a: the first half of the channels instance-normalised, the rest batch-normalised."""
        scale, shift = self.tensors[f"{name}.IN.weight"], self.tensors[f"{name}.IN.bias"]
        half = len(scale)
        first = Source(f"the first half of {source.text}", lambda outputs: source.of(outputs)[:, :half])
        second = Source(f"the second half of {source.text}", lambda outputs: source.of(outputs)[:, half:])
        rule = f"{first.text} normalised image by image, epsilon {EPSILON}"
        instance = self.add(
            f"{name}.IN", rule, lambda outputs: by_groups(first.of(outputs), 1, scale, shift, instance=True)[0]
        )
        batch = self.batch_norm(f"{name}.BN", second)
        return self.add(
            name, "both halves", lambda outputs: np.concatenate([instance.of(outputs), batch.of(outputs)], 1)
        )

    def max_pool(self, name: str, source: Source, *, uneven: bool = False) -> Source:
        """3 x 3 windows, stride 2, padding 1. uneven: padded as `same_padding` has it instead."""
        x = self.chosen(source, windows=True, uneven=uneven)
        padded = "'same'" if uneven else 1
        rule = f"largest of 3x3 windows of {x.text}, stride 2, padding {padded}"
        return self.add(name, rule, lambda outputs: max_pool(x.of(outputs), uneven=uneven))

    def attention(self, name: str, source: Source) -> Source:
        """Channel attention, where the network has a tensor for it; else nothing."""
        gamma = self.tensors.get(f"{name}.gamma")
        if gamma is None:
            return source
        rule = f"channel attention on {source.text}"
        return self.add(name, rule, lambda outputs: attend(source.of(outputs), gamma))

    def gem_over_places(self, source: Source) -> Source:
        """(B, C, H, W) -> (B, C): the generalised mean, whose exponent is `pooling.exponent`."""
        exponent = self.tensors["pooling.exponent"]
        text = f"generalised mean of {source.text} over all places, exponent pooling.exponent"
        return Source(text, lambda outputs: generalised_mean(source.of(outputs), exponent))

    def mean_over_places(self, source: Source) -> Source:
        """(B, C, H, W) -> (B, C): no stage of its own, but part of what comes next."""
        return Source(f"mean of {source.text} over all places", lambda outputs: source.of(outputs).mean((2, 3)))


def _moved(source: Source, group: int, old: np.ndarray, index: int, momentum: float) -> Callable[[Outputs], np.ndarray]:
    def compute(outputs: Outputs) -> np.ndarray:
        return (1 - momentum) * old + momentum * by_groups(source.of(outputs), group, 1.0, 0.0)[index]

    return compute
