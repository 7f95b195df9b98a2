"""The six verbs in torch."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from duoreid.backends.torch.graph import Replay
from duoreid.backends.torch.inputs import Inputs
from duoreid.backends.torch.layers import take_triton
from duoreid.backends.torch.methods import METHODS
from duoreid.backends.torch.networks import ReIDNetwork
from duoreid.backends.torch.optimiser import make_optimiser, update_teachers
from duoreid.backends.torch.runtime import Runtime
from duoreid.core.contract.checks import check_batch, check_centroids, check_chunk
from duoreid.core.contract.learner import Batch
from duoreid.core.contract.state import MOMENTS, arrays_of, capacity_of, check_state, initial, step_name
from duoreid.core.methods.registry import spec_of
from duoreid.core.networks.heads import grow_classifiers, rows_for
from duoreid.core.settings.config import LearnerConfig

log = logging.getLogger(__name__)


class TorchLearner:
    """Networks, losses and optimiser of one method on one device; see core/contract/learner.py for the verbs."""

    def __init__(self, config: LearnerConfig, runtime: Runtime, seed: int) -> None:
        self.config, self.runtime = config, runtime
        self.spec = spec_of(config.method)
        self.method = METHODS[config.method]
        self.networks: dict[str, ReIDNetwork] = {}
        self.arrays: dict[str, Tensor] = {}
        self._classes = torch.zeros((), dtype=torch.int64, device=runtime.device)
        self._names, self._sums, self._count = (), None, 0
        self.import_state(initial(config, seed))

    # -- building ---------------------------------------------------------------------------------------------

    def _build(self, capacity: int) -> None:
        self.config = replace(self.config, capacity=capacity)
        for role in self.spec.all:
            network = self.method.network(self.config, capacity).to(self.runtime.device, self.runtime.dtype)
            network.to(memory_format=torch.channels_last)
            network.train()
            if role in self.spec.teachers:
                network.requires_grad_(False)
            self.networks[role] = network
        take_triton(self.networks.values(), self.runtime.triton)
        place = {"dtype": self.runtime.dtype, "device": self.runtime.device}
        self.arrays = {entry.name: torch.zeros(entry.shape, **place) for entry in arrays_of(self.config)}
        self._replay = None
        if self.runtime.graph:
            parameters = [parameter for _, parameter in self._trained()]
            self._replay = Replay(parameters, self.runtime.device)
        self._forwards = {role: self._compiled(self.networks[role]) for role in self.spec.all}
        self._restart_optimiser()

    def _compiled(self, network: ReIDNetwork) -> ReIDNetwork:
        return torch.compile(network) if self.runtime.compile else network

    def _restart_optimiser(self) -> None:
        self.optimiser = make_optimiser(self.config, self._trained())

    def _trained(self) -> list[tuple[str, Tensor]]:
        named = []
        for role in self.spec.students:
            named += [(f"{role}.{n}", p) for n, p in self.networks[role].named_parameters() if p.requires_grad]
        return named

    def _parameters(self, chosen: Iterable[str]) -> list[Tensor]:
        return [parameter for role in chosen for parameter in self.networks[role].parameters()]

    # -- the verbs --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def embed(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """Embed chunks uint8 (b, H, W, 3) in test mode -> float32 (M, N, D) (float64 in double precision)."""
        networks = [self.networks[role] for role in self.spec.embedders]
        for network in networks:
            network.eval()
        try:
            chunks = []
            for chunk in images:
                check_chunk(chunk)
                views = self.method.views([self._to_device(chunk)], self.runtime.dtype, self.config)
                with self._autocast():
                    rows = self.method.embed(networks, views)
                chunks.append(rows.to(self.runtime.dtype).cpu().numpy())
        finally:
            for network in networks:
                network.train()
        if not chunks:
            raise ValueError("embed needs at least one chunk of images (b, H, W, 3), got none")
        return np.concatenate(chunks, axis=1)

    @torch.no_grad()
    def relabel(self, centroids: np.ndarray) -> None:
        """Set every classifier to the L2-normalised centroids (K, D); the optimiser starts afresh."""
        check_centroids(centroids, self.config)
        classes = len(centroids)
        if classes > self.config.capacity:
            rows = rows_for(classes)
            log.warning("classifier grows from %d to %d rows for %d clusters", self.config.capacity, rows, classes)
            self.import_state(grow_classifiers(self.export_state(), rows))
        rows = torch.as_tensor(np.asarray(centroids), dtype=self.runtime.dtype, device=self.runtime.device)
        rows = torch.nn.functional.normalize(rows)
        for network in self.networks.values():
            network.classifier.weight.zero_()
            network.classifier.weight[:classes] = rows
        self._set_classes(classes)
        self._restart_optimiser()

    def _set_classes(self, classes: int) -> None:
        self._live = classes
        self._classes.fill_(classes)

    def step(self, batch: Batch, rate: float, ema: float) -> None:
        """Forward, backward, optimiser, mean teachers. Nothing is read back."""
        check_batch(batch, self.config, self._live)
        arrays = self._arrays(batch)
        values = self._replay(self._gradients, *arrays) if self._replay else self._gradients(*self._on_device(arrays))
        self._unite()
        self.optimiser.step(rate)
        if self.spec.teachers:
            update_teachers(self._parameters(self.spec.teachers), self._parameters(self.spec.students), ema)
        self._sums = values.clone() if self._sums is None else self._sums + values
        self._count += 1

    def _gradients(self, labels: Tensor, noise: Tensor | None, *views: Tensor) -> Tensor:
        """Compute the losses and leave the gradients in the parameters; what a CUDA graph records."""
        parts = self._losses(labels, noise, *views)
        parts["total"].backward()
        self._names = tuple(parts)
        return torch.stack([part.detach() for part in parts.values()])

    def _unite(self) -> None:
        """Make gradients and batch-norm statistics those of the whole batch, where processes see parts of it."""
        if self.runtime.processes.size > 1:
            gradients = [p.grad for role in self.spec.students for p in self._parameters([role]) if p.grad is not None]
            statistics = [buffer for network in self.networks.values() for buffer in network.buffers()]
            self.runtime.processes.unite(gradients, statistics)

    def losses_of(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a batch, by name, with their graph: of the whole batch, on every process of several."""
        check_batch(batch, self.config, self._live)
        return self._losses(*self._on_device(self._arrays(batch)))

    def _arrays(self, batch: Batch) -> list[Tensor | None]:
        """Return a batch's labels, noise and views, ready to be copied to the device."""
        arrays = [batch.labels.astype(np.int64), batch.noise, *batch.images]
        return [None if array is None else self._pinned(array) for array in arrays]

    def _losses(self, labels: Tensor, noise: Tensor | None, *views: Tensor) -> dict[str, Tensor]:
        inputs = Inputs(self.method.views(views, self.runtime.dtype, self.config), labels, noise, self.arrays)
        return self.method.loss(partial(self._forward, len(labels)), inputs, self._classes, self.config)

    def _forward(self, count: int, role: str, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        """Run a network on this process's part of a batch of `count` rows, and return what all processes found."""
        processes = self.runtime.processes
        parts = [None if rows is None else processes.own(rows, count) for rows in inputs]
        with self._autocast():
            outputs = self._forwards[role](*parts)
        return processes.whole([output.to(self.runtime.dtype) for output in outputs], count)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.runtime.device.type, torch.bfloat16, enabled=self.runtime.autocast)

    def _pinned(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.pin_memory() if self.runtime.device.type == "cuda" else tensor

    def _on_device(self, arrays: Iterable[Tensor | None]) -> list[Tensor | None]:
        return [None if array is None else array.to(self.runtime.device, non_blocking=True) for array in arrays]

    def _to_device(self, array: np.ndarray) -> Tensor:
        return self._on_device([self._pinned(array)])[0]

    def losses(self) -> dict[str, float]:
        """Return the means since the last call; empty when no step was done."""
        if not self._count:
            return {}
        means = (self._sums / self._count).tolist()
        self._sums, self._count = None, 0
        return dict(zip(self._names, means, strict=True))

    def export_state(self) -> dict[str, np.ndarray]:
        """Copy every network, the optimiser's moments and the counters to NumPy, in the learner's precision."""
        state = {}
        for role, network in self.networks.items():
            state.update({f"{role}.{name}": _copy(value) for name, value in network.state_dict().items()})
        state.update({name: _copy(value) for name, value in self.arrays.items()})
        steps, *moments = self.optimiser.moments()
        for prefix, values in zip(MOMENTS[self.config.optimiser], moments, strict=True):
            for (name, _), value in zip(self._trained(), values, strict=True):
                state[prefix + name] = _copy(value)
        return state | {step_name(self.config): np.int64(steps), "classes": np.int64(self._live)}

    @torch.no_grad()
    def import_state(self, state: dict[str, np.ndarray]) -> None:
        """Replace everything; UserError lists what does not fit. The classifier takes the state's capacity."""
        capacity = capacity_of(state, self.config)
        check_state(state, replace(self.config, capacity=capacity))
        if not self.networks or capacity != self.config.capacity:
            self._build(capacity)
        for role, network in self.networks.items():
            for name, tensor in network.state_dict().items():
                tensor.copy_(torch.tensor(np.asarray(state[f"{role}.{name}"])))
        for name, tensor in self.arrays.items():
            tensor.copy_(torch.tensor(np.asarray(state[name])))
        self._set_classes(int(state["classes"]))
        self._restart_optimiser()
        steps = int(state[step_name(self.config)])
        if steps:
            names, prefixes = [name for name, _ in self._trained()], MOMENTS[self.config.optimiser]
            moments = [[self._tensor(state[prefix + name]) for name in names] for prefix in prefixes]
            self.optimiser.load(steps, *moments)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.tensor(np.asarray(array), dtype=self.runtime.dtype, device=self.runtime.device)


def _copy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()
