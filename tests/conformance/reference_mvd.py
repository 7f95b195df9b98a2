"""MVD's branches and its whole objective in float64 NumPy, on top of the plain reference networks."""

from __future__ import annotations

import numpy as np

from duoreid.core.contract.learner import Batch
from duoreid.core.contract.state import network
from duoreid.core.losses.mvd import View, mvd
from duoreid.core.methods.augmentation import GREY_WEIGHTS
from duoreid.core.networks.architectures import architecture, blocks
from duoreid.core.settings.config import LearnerConfig
from tests.conformance.reference import DEVIATION, MEAN, Network, State, convolve, max_pool

ROLES = ("visible", "infrared", "shared")


def attend(x: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Add gamma times the mean of all channels' maps, weighted by softmax(rowmax(x x') - x x')."""
    maps = x.reshape(*x.shape[:2], -1)
    unlike = -np.einsum("bcn,bdn->bcd", maps, maps)
    weights = np.exp(unlike - unlike.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    return x + gamma * np.einsum("bcd,bdn->bcn", weights, maps).reshape(x.shape)


class Branch(Network):
    """One branch: pixels from 0 to 255 -> a View."""

    def __init__(self, config: LearnerConfig, state: State) -> None:
        super().__init__(config.network, state)
        self.dropout = config.section.dropout

    def observe(self, pixels: np.ndarray, train: bool) -> np.ndarray:
        """Pixels (B, H, W, 3) -> neck output (B, D)."""
        x = ((pixels / 255 - MEAN) / DEVIATION).transpose(0, 3, 1, 2)
        x = max_pool(np.maximum(self.batch_norm(convolve(x, self.state["conv1.weight"], 2), "bn1", train), 0))
        arch = architecture(self.config.arch)
        for number, layer in enumerate(blocks(arch, self.config.last_stride), start=1):
            if (gamma := self.state.get(f"attention{number}.gamma")) is not None:
                x = attend(x, gamma)
            for block in layer:
                x = self.block(x, block, arch.block, train)
        return self.batch_norm(x.mean((2, 3)), "neck", train)

    def view(self, pixels: np.ndarray, noise: np.ndarray | None) -> View:
        """Run in training mode. noise: uniforms (B, hidden), None where nothing is dropped."""
        weights = {name.removeprefix("bottleneck."): value for name, value in self.state.items()}

        def linear(x: np.ndarray, name: str) -> np.ndarray:
            return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)

        v = self.observe(pixels, train=True)
        x = np.maximum(self.batch_norm(linear(v, "linear1"), "bottleneck.bn1", True), 0)
        x = np.maximum(self.batch_norm(linear(x, "linear2"), "bottleneck.bn2", True), 0)
        z = linear(x, "linear3")
        x = self.batch_norm(linear(z, "hidden"), "bottleneck.hidden_bn", True)
        x = np.where(x > 0, x, 0.1 * x)
        if noise is not None:
            x = x * (noise >= self.dropout) / (1 - self.dropout)
        classifier = self.state["bottleneck.classifier.weight"]
        return View(v, v @ self.state["classifier.weight"].T, z, x @ classifier.T + weights["classifier.bias"])


def grey(pixels: np.ndarray) -> np.ndarray:
    """Luminance three times."""
    return np.repeat((pixels * np.array(GREY_WEIGHTS)).sum(3, keepdims=True), 3, axis=3)


def embedding(config: LearnerConfig, state: State, images: np.ndarray) -> np.ndarray:
    """Images uint8 (b, H, W, 3) -> the feature of the test (b, 4 D)."""
    visible, infrared, shared = (Branch(config, network(state, role)) for role in ROLES)
    parts = [visible.observe(images, False), infrared.observe(grey(images), False)]
    parts += [shared.observe(images, False), shared.observe(grey(images), False)]
    joined = np.concatenate(parts, axis=1)
    return joined / np.linalg.norm(joined, axis=1, keepdims=True)


class MVDObjective:
    """The losses of one batch as a function of the branches' weights."""

    def __init__(self, config: LearnerConfig, state: State, batch: Batch) -> None:
        self.config, self.classes = config, int(state["classes"])
        colour = np.concatenate(list(batch.images)).astype(np.float64)
        count = len(colour)
        self.pixels = {
            "visible": colour,
            "infrared": grey(colour),
            "shared": np.concatenate([colour, grey(colour)]),
        }
        starts = {"visible": (0, count), "infrared": (count, 2 * count), "shared": (2 * count, 4 * count)}
        self.noise = {r: None if batch.noise is None else batch.noise[slice(*part)] for r, part in starts.items()}
        self.labels = np.tile(batch.labels, len(batch.images))
        self.modalities = np.repeat(np.arange(len(batch.images)), len(batch.labels))
        self.networks = {role: Branch(config, network(state, role)) for role in ROLES}
        self.outputs = {role: self._run(role) for role in ROLES}
        self.observed: dict[str, np.ndarray] | None = None

    def _run(self, role: str) -> View:
        return self.networks[role].view(self.pixels[role], self.noise[role])

    def views(self) -> dict[str, View]:
        """Return the four views."""
        half = len(self.labels)
        shared = self.outputs["shared"]
        return {
            "visible": self.outputs["visible"],
            "infrared": self.outputs["infrared"],
            "shared_visible": View(*(part[:half] for part in shared)),
            "shared_infrared": View(*(part[half:] for part in shared)),
        }

    def losses(self, **changes: float) -> dict[str, float]:
        """Return the losses by name. changes: of the settings of the oracle."""
        m = self.config.section
        settings = {
            "objective": m.objective,
            "metric": m.metric,
            "margin": m.margin,
            "form": m.distillation,
            **{name: getattr(m, name) for name in ("cml", "vsd", "vcd", "vml")},
            "smoothing": self.config.section.smoothing,
            "classes": self.classes,
        }
        total, parts, _ = mvd(self.views(), self.labels, self.modalities, **(settings | changes))
        return parts | {"total": total}

    def slope(self, role: str, name: str, direction: np.ndarray, step: float = 1e-7) -> float:
        """Return the derivative of "total" along a direction of one tensor, distillation's targets held constant.

        The targets' logits move with the weights too; that part of the difference is what a detached target leaves
        out, so it is taken off again.
        """
        net, values = self.networks[role], []
        original, kept, buffers = net.state[name], self.outputs[role], dict(net.buffers)
        fixed = self.views()
        for sign in (1, -1):
            net.state[name] = original + sign * step * direction
            self.outputs[role] = self._run(role)
            moved = self.losses(vsd=0.0, vcd=0.0)["total"]
            values.append(moved + self._distillation(fixed))
        net.state[name], self.outputs[role], net.buffers = original, kept, buffers
        return (values[0] - values[1]) / (2 * step)

    def _distillation(self, fixed: dict[str, View]) -> float:
        """Return the weighted VSD and VCD of the moved representations to the fixed observations."""
        m = self.config.section
        if m.objective != "full":
            return 0.0
        views = {n: v._replace(observation_logits=fixed[n].observation_logits) for n, v in self.views().items()}
        total, parts, _ = mvd(
            views,
            self.labels,
            self.modalities,
            form=m.distillation,
            vsd=m.vsd,
            vcd=m.vcd,
            smoothing=self.config.section.smoothing,
            classes=self.classes,
        )
        del total
        return m.vsd * parts.get("vsd", 0.0) + m.vcd * parts.get("vcd", 0.0)
