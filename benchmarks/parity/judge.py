"""What every layer should compute, in NumPy and float64, as a list: a layer's output from the outputs before it.

Given the outputs that a backend reports, a stage tells what it should have made of its own inputs: the error that this
layer introduces, free of what it inherits. Given nothing but the images, the stages in order are the whole network: the
truth. Sources of the layers: see core/networks/architectures.py and backends/*/networks.py; written from the formulas
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from duoreid.core.methods.augmentation import GREY_WEIGHTS
from duoreid.core.methods.registry import spec_of
from duoreid.core.networks.architectures import ATTENTIVE_LAYERS, Block, architecture, blocks
from duoreid.core.settings.config import LearnerConfig

EPSILON, MOMENTUM = 1e-5, 0.1
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
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


def output(name: str) -> Source:
    """The output of a layer."""
    return Source(name, lambda outputs: np.asarray(outputs[name], np.float64))


class Choosing(NamedTuple):
    """A ReLU, leaky or not, or a pooled maximum (`windows`), by what comes before it."""

    before: Source
    windows: bool


def relu(source: Source) -> Source:
    """Max(x, 0)."""
    return Source(f"relu({source.text})", lambda outputs: np.maximum(source.of(outputs), 0))


def stages(
    config: LearnerConfig, tensors: Outputs, images: np.ndarray, noise: np.ndarray | None, *, train: bool
) -> list[Stage]:
    """Return a network's layers in order; in training also the running statistics, each behind its layer.

    tensors: of one network. images: uint8 (B, H, W, 3). noise: uniforms (B, hidden) for MVD's dropout, or None.
    """
    return _walk(config, tensors, images, noise, train=train).stages


def choosing(
    config: LearnerConfig, tensors: Outputs, images: np.ndarray, noise: np.ndarray | None
) -> list[tuple[Choosing, np.ndarray]]:
    """Return a network's ReLUs and pooled maxima in the order in which they run, and what comes before each (B, ...).

    In training, in float64. Arguments: as for `stages`.
    """
    walk = _walk(config, tensors, images, noise, train=True)
    outputs = truth(walk.stages, lambda name, value: value)
    return [(one, one.before.of(outputs)) for one in walk.choosing]


def _walk(
    config: LearnerConfig, tensors: Outputs, images: np.ndarray, noise: np.ndarray | None, *, train: bool
) -> _Walk:
    walk = _Walk(config, {name: np.asarray(value, np.float64) for name, value in tensors.items()}, train)
    walk.backbone(images)
    if spec_of(config.method).joint:
        walk.bottleneck(noise if train else None)
    return walk


def truth(listed: list[Stage], keep: Callable[[str, np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    """Run all stages on each other's outputs and return keep(name, output) of each."""
    outputs, kept = {}, {}
    for stage in listed:
        outputs[stage.name] = stage.compute(outputs)
        kept[stage.name] = keep(stage.name, outputs[stage.name])
    return kept


def own_errors(listed: list[Stage], outputs: Outputs) -> dict[str, float]:
    """Return how far each reported output is from what its reported inputs give, relative to the largest number.

    Infinite where a layer is missing, of another shape or not finite.
    """
    found = {}
    for stage in listed:
        try:
            expected = stage.compute(outputs)
        except (KeyError, ValueError):  # an input is missing or of another shape: that layer has its own line
            found[stage.name] = float("inf")
            continue
        found[stage.name] = distance(outputs.get(stage.name), expected)
    return found


def distance(found: np.ndarray | None, expected: np.ndarray) -> float:
    """Largest difference relative to the largest expected number; infinite where they cannot be compared."""
    if found is None or np.shape(found) != np.shape(expected) or not np.isfinite(found).all():
        return float("inf")
    scale = float(np.abs(expected).max(initial=0.0))
    apart = float(np.abs(np.asarray(found, np.float64) - expected).max(initial=0.0))
    return apart / scale if scale else apart


class _Walk:
    """Collects the stages of one network."""

    def __init__(self, config: LearnerConfig, tensors: Outputs, train: bool) -> None:
        self.config, self.tensors, self.train = config, tensors, train
        self.stages: list[Stage] = []
        self.choosing: list[Choosing] = []

    def add(self, name: str, rule: str, compute: Callable[[Outputs], np.ndarray]) -> Source:
        self.stages.append(Stage(name, rule, compute))
        return output(name)

    def chosen(self, before: Source, *, windows: bool = False) -> Source:
        """Note that a ReLU, or pooling, takes this; return it."""
        self.choosing.append(Choosing(before, windows))
        return before

    def relu(self, source: Source) -> Source:
        return relu(self.chosen(source))

    # -- layers -----------------------------------------------------------------------------------------------

    def convolve(self, name: str, source: Source, stride: int) -> Source:
        weight = self.tensors[f"{name}.weight"]
        size = weight.shape[2]
        rule = f"{size}x{size} convolution of {source.text}, stride {stride}, padding {size // 2}"
        return self.add(name, rule, lambda outputs: convolve(source.of(outputs), weight, stride))

    def linear(self, name: str, source: Source) -> Source:
        weight, bias = self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias", 0.0)
        rule = f"product of {source.text} with {name}.weight"
        return self.add(name, rule, lambda outputs: source.of(outputs) @ weight.T + bias)

    def batch_norm(self, name: str, source: Source) -> Source:
        scale, shift, mean, var = (
            self.tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        if not self.train:
            rule = f"{source.text} normalised by the running statistics, epsilon {EPSILON}"
            return self.add(name, rule, lambda outputs: normalise(source.of(outputs), mean, var, scale, shift))
        group = self.config.network.batch_norm_group
        rule = f"{source.text} normalised by the statistics of {group or 'all'} images, epsilon {EPSILON}"
        found = self.add(name, rule, lambda outputs: by_groups(source.of(outputs), group, scale, shift)[0])
        for kind, old, index in (("running_mean", mean, 1), ("running_var", var, 2)):
            unbiased = " (unbiased)" if index == 2 else ""
            rule = f"(1 - {MOMENTUM}) old + {MOMENTUM} the batch's{unbiased}, of {source.text}"
            self.add(f"{name}.{kind}", rule, self._moved(source, group, old, index))
        return found

    @staticmethod
    def _moved(source: Source, group: int, old: np.ndarray, index: int) -> Callable[[Outputs], np.ndarray]:
        def compute(outputs: Outputs) -> np.ndarray:
            return (1 - MOMENTUM) * old + MOMENTUM * by_groups(source.of(outputs), group, 1.0, 0.0)[index]

        return compute

    def split_norm(self, name: str, source: Source, width: int) -> Source:
        half = width // 2
        first = Source(f"the first half of {source.text}", lambda outputs: source.of(outputs)[:, :half])
        second = Source(f"the second half of {source.text}", lambda outputs: source.of(outputs)[:, half:])
        scale, shift = self.tensors[f"{name}.IN.weight"], self.tensors[f"{name}.IN.bias"]
        rule = f"{first.text} normalised image by image, epsilon {EPSILON}"
        instance = self.add(
            f"{name}.IN", rule, lambda outputs: by_groups(first.of(outputs), 1, scale, shift, instance=True)[0]
        )
        batch = self.batch_norm(f"{name}.BN", second)
        return self.add(
            name, "both halves", lambda outputs: np.concatenate([instance.of(outputs), batch.of(outputs)], 1)
        )

    # -- networks ---------------------------------------------------------------------------------------------

    def backbone(self, images: np.ndarray) -> None:
        network = self.config.network
        arch = architecture(network.arch)
        pixels = images if images.dtype == np.uint8 else np.asarray(images, np.float64)
        image = self.add(
            "image", "pixels / 255, ImageNet's mean and deviation removed", lambda outputs: standardise(pixels)
        )
        x = self.batch_norm("bn1", self.convolve("conv1", image, 2))
        x = self.chosen(self.relu(x) if network.stem_relu else x, windows=True)
        x = self.add("maxpool", f"largest of 3x3 windows of {x.text}, stride 2, padding 1", self._pooled(x))
        for number, layer in enumerate(blocks(arch, network.last_stride), start=1):
            gamma = self.tensors.get(f"attention{number}.gamma") if number in ATTENTIVE_LAYERS else None
            if gamma is not None:
                x = self.add(f"attention{number}", f"channel attention on {x.text}", self._attended(x, gamma))
            for block in layer:
                x = self.block(x, block, arch.block)
        features = self.add("features", f"mean of {x.text} over all places", self._averaged(x))
        neck = self.batch_norm("neck", features)
        self.linear("classifier", neck)

    @staticmethod
    def _pooled(x: Source) -> Callable[[Outputs], np.ndarray]:
        return lambda outputs: max_pool(x.of(outputs))

    @staticmethod
    def _attended(x: Source, gamma: np.ndarray) -> Callable[[Outputs], np.ndarray]:
        return lambda outputs: attend(x.of(outputs), gamma)

    @staticmethod
    def _averaged(x: Source) -> Callable[[Outputs], np.ndarray]:
        return lambda outputs: x.of(outputs).mean((2, 3))

    def block(self, x: Source, block: Block, kind: str) -> Source:
        strides = (block.stride, 1) if kind == "basic" else (1, block.stride, 1)
        y = x
        for index, stride in enumerate(strides, start=1):
            y = self.convolve(f"{block.name}.conv{index}", y, stride)
            norm = f"{block.name}.bn{index}"
            y = self.split_norm(norm, y, block.width) if block.ibn and index == 1 else self.batch_norm(norm, y)
            y = self.relu(y) if index < len(strides) else y
        if block.downsample:
            x = self.batch_norm(
                f"{block.name}.downsample.1", self.convolve(f"{block.name}.downsample.0", x, block.stride)
            )
        total = Source(f"{y.text} + {x.text}", lambda outputs: x.of(outputs) + y.of(outputs))
        return self.add(block.name, f"relu({total.text})", self.relu(total).of)

    def bottleneck(self, noise: np.ndarray | None) -> None:
        x = output("neck")
        for index in (1, 2):
            linear = self.linear(f"bottleneck.linear{index}", x)
            x = self.relu(self.batch_norm(f"bottleneck.bn{index}", linear))
        z = self.linear("bottleneck.linear3", x)
        hidden = self.chosen(self.batch_norm("bottleneck.hidden_bn", self.linear("bottleneck.hidden", z)))
        dropout = self.config.section.dropout
        kept = 1.0 if noise is None or not dropout else (noise >= dropout) / (1 - dropout)

        def leak(outputs: Outputs) -> np.ndarray:
            x = hidden.of(outputs)
            return np.where(x > 0, x, 0.1 * x) * kept

        self.linear("bottleneck.classifier", Source("dropout(leaky relu(bottleneck.hidden_bn))", leak))


# -- operations ---------------------------------------------------------------------------------------------------


def standardise(pixels: np.ndarray) -> np.ndarray:
    """Pixels (B, H, W, 3) from 0 to 255 -> (B, 3, H, W)."""
    return ((pixels / 255 - MEAN) / DEVIATION).transpose(0, 3, 1, 2)


def grey(images: np.ndarray) -> np.ndarray:
    """Luminance three times, not rounded: uint8 (B, H, W, 3) -> float64, as MVD's infrared branch sees it."""
    return np.repeat((images * np.array(GREY_WEIGHTS)).sum(3, keepdims=True), 3, axis=3)


def convolve(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """Convolve (B, C, H, W) with (O, C, k, k), padded by k // 2, image by image to spare memory."""
    size = weight.shape[2]
    border = (size // 2, size // 2)
    rows = weight.reshape(len(weight), -1)
    found = []
    for image in np.pad(x, ((0, 0), (0, 0), border, border)):
        windows = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(1, 2))[:, ::stride, ::stride]
        gathered = windows.transpose(0, 3, 4, 1, 2)
        found.append((rows @ gathered.reshape(rows.shape[1], -1)).reshape(-1, *gathered.shape[3:]))
    return np.stack(found)


def max_pool(x: np.ndarray) -> np.ndarray:
    """Maximum of 3 x 3 windows, stride 2, padding 1."""
    return _windows(x).max(axis=(4, 5))


def max_places(x: np.ndarray) -> np.ndarray:
    """Return where `max_pool` finds its numbers, int64: places in the flattened (H, W), the first of equal ones."""
    windows, width = _windows(x), x.shape[3]
    inside = windows.reshape(*windows.shape[:4], 9).argmax(4)
    rows = 2 * np.arange(windows.shape[2])[:, None] - 1 + inside // 3
    return rows * width + 2 * np.arange(windows.shape[3]) - 1 + inside % 3


def _windows(x: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]


def normalise(x: np.ndarray, mean: np.ndarray, var: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Normalise channels of (B, C, ...) by given statistics (C,)."""
    mean, var, scale, shift = (np.reshape(v, (1, -1) + (1,) * (x.ndim - 2)) for v in (mean, var, scale, shift))
    return (x - mean) / np.sqrt(var + EPSILON) * scale + shift


def by_groups(
    x: np.ndarray, group: int, scale: np.ndarray | float, shift: np.ndarray | float, *, instance: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalise groups of images by their own statistics -> (the result, mean and unbiased variance over groups)."""
    size = 1 if instance else group if 0 < group < len(x) else len(x)
    axes = (0, *range(2, x.ndim))
    scale, shift = (np.broadcast_to(value, x.shape[1]) for value in (scale, shift))
    parts, means, variances = [], [], []
    for start in range(0, len(x), size):
        part = x[start : start + size]
        mean, var = part.mean(axes), part.var(axes)
        parts.append(normalise(part, mean, var, scale, shift))
        count = part.size // part.shape[1]
        means.append(mean)
        variances.append(var * count / max(count - 1, 1))
    return np.concatenate(parts), np.mean(means, axis=0), np.mean(variances, axis=0)


def attend(x: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Channel attention of MVD's public code: x + gamma softmax(rowmax(x x') - x x') x."""
    maps = x.reshape(*x.shape[:2], -1)
    unlike = -maps @ maps.transpose(0, 2, 1)
    weights = np.exp(unlike - unlike.max(axis=2, keepdims=True))
    return x + gamma * ((weights / weights.sum(axis=2, keepdims=True)) @ maps).reshape(x.shape)
