"""MVD's branches and its whole objective in float64 NumPy, on top of the plain reference networks."""

from __future__ import annotations

import numpy as np

from duoreid.core.contract.learner import Batch
from duoreid.core.contract.pairs import mixed_rows, rows_of_branches
from duoreid.core.contract.state import network
from duoreid.core.losses.float64.network import Network
from duoreid.core.losses.mvd import View, mvd
from duoreid.core.losses.objectives import four_views, variational_distillation
from duoreid.core.networks.images import grey
from duoreid.core.settings.config import LearnerConfig
from tests.conformance.reference import State

ROLES = ("visible", "infrared", "shared")


def branch(config: LearnerConfig, state: State, role: str) -> Network:
    """Return one branch."""
    return Network(config.network, network(state, role), dropout=config.section.dropout)


def view(outputs: dict[str, np.ndarray]) -> View:
    """Return a View of what a branch returned by layer."""
    names = ("neck", "classifier", "bottleneck.linear3", "bottleneck.classifier")
    return View(*(outputs[name] for name in names))


def embedding(config: LearnerConfig, state: State, images: np.ndarray) -> np.ndarray:
    """Images uint8 (b, H, W, 3) -> the feature of the test (b, 4 D)."""
    section = config.section
    plain = grey(images, section.grey_form)
    forms = {"visible": [images], "infrared": [plain], "shared": [images, plain]}
    parts = [branch(config, state, role)(form, False)["neck"] for role, seen in forms.items() for form in seen]
    if section.feature == "each":
        parts = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts]
    joined = np.concatenate(parts, axis=1)
    return joined / np.linalg.norm(joined, axis=1, keepdims=True)


class MVDObjective:
    """The losses of one batch as a function of the branches' weights."""

    def __init__(self, config: LearnerConfig, state: State, batch: Batch) -> None:
        self.config, self.batch, self.classes = config, batch, int(state["classes"])
        colour = np.concatenate(list(batch.images)).astype(np.float64)
        count = len(colour)
        self.pixels = {
            "visible": colour,
            "infrared": grey(colour, config.section.grey_form),
            "shared": np.concatenate([colour, grey(colour, config.section.grey_form)]),
        }
        parts = zip(ROLES, rows_of_branches(count), strict=True)
        self.noise = {role: None if batch.noise is None else batch.noise[rows] for role, rows in parts}
        self.labels = np.tile(batch.labels, len(batch.images))
        self.modalities = np.repeat(np.arange(len(batch.images)), len(batch.labels))
        self.networks = {role: branch(config, state, role) for role in ROLES}
        self.outputs = {role: self._run(role) for role in ROLES}
        self.observed: dict[str, np.ndarray] | None = None

    def _run(self, role: str) -> View:
        images, noise, order = self.pixels[role], self.noise[role], self.config.section.shared_norm
        if role != "shared" or order == "together":
            return self._pass(role, images, noise)
        forms, views = np.arange(len(images)).reshape(2, -1), {}
        for form in (0, 1) if order == "colour-first" else (1, 0):
            views[form] = self._pass(role, images[forms[form]], None if noise is None else noise[forms[form]])
        return View(*(np.concatenate(parts) for parts in zip(views[0], views[1], strict=True)))

    def _pass(self, role: str, images: np.ndarray, noise: np.ndarray | None) -> View:
        """Run one batch of a branch; with mixed groups in an order that puts those of a group side by side."""
        section, group = self.config.section, self.config.network.batch_norm_group
        order = mixed_rows(len(images), group) if section.mixed_groups else np.arange(len(images))
        outputs = self.networks[role](images[order], True, None if noise is None else noise[order])
        return View(*(part[order.argsort()] for part in view(outputs)))

    def views(self) -> dict[str, View]:
        """Return the four views."""
        return four_views(self.outputs, len(self.labels))

    def losses(self, **changes: float) -> dict[str, float]:
        """Return the losses by name. changes: of the settings of the oracle."""
        return variational_distillation(self.config, self.outputs, self.batch, self.classes, **changes)

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
