"""The six verbs in MindSpore."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor

from duoreid.backends.mindspore.methods import METHODS
from duoreid.backends.mindspore.networks import ReIDNetwork
from duoreid.backends.mindspore.optimiser import MeanTeachers, compiled, load, make_optimiser
from duoreid.backends.mindspore.processes import Sum, averaging
from duoreid.backends.mindspore.runtime import Runtime
from duoreid.core.contract.checks import check_batch, check_centroids, check_chunk
from duoreid.core.contract.learner import Batch
from duoreid.core.contract.state import MOMENTS, capacity_of, check_state, initial, step_name
from duoreid.core.methods.registry import spec_of
from duoreid.core.networks.heads import grow_classifiers, rows_for
from duoreid.core.settings.config import LearnerConfig

log = logging.getLogger(__name__)


class MindSporeLearner:
    """Networks, losses and optimiser of one method on one device; see core/contract/learner.py for the verbs.

    A step is three compiled functions: losses with gradients (teachers included, their gradients stopped inside the
    losses), the optimiser, and the mean teachers. On the CPU one function for the whole step, and teachers in a
    function of their own, are both slower: a ResNet-18 took 1.7 s instead of 1.0 s, and 1.09 s instead of 0.63 s.
    Arrays enter a compiled function as tensors and never as tuples, whose contents would count as constants and be
    compiled anew. A compiled function is parsed from its source file at its first call: that file must not change
    before it.
    """

    def __init__(self, config: LearnerConfig, runtime: Runtime, seed: int) -> None:
        self.config, self.runtime = config, runtime
        self.spec = spec_of(config.method)
        self.method = None
        self._sums, self._count = None, 0
        self.import_state(initial(config, seed))

    # -- building ---------------------------------------------------------------------------------------------

    def _build(self, capacity: int) -> None:
        self.config = replace(self.config, capacity=capacity)
        graph, dtype = self.runtime.graph, self.runtime.dtype
        half = METHODS[self.config.method]
        method, feature = half.cell(self.config, dtype, self.runtime.processes), half.embed
        self.method = method
        for role in self.spec.teachers:
            for parameter in self.network(role).get_parameters():
                parameter.requires_grad = False
        self.optimiser = make_optimiser(self.config, self._trained(), graph=graph)
        self.teachers = None
        if self.spec.teachers:
            self.teachers = MeanTeachers(
                self._weights(self.spec.teachers), self._weights(self.spec.students), graph=graph
            )
        differentiated = ms.value_and_grad(method, None, self.optimiser.parameters, has_aux=True)
        embedders = [self.network(role) for role in self.spec.embedders]

        over_processes = Sum(self.runtime.processes)

        def losses_and_gradients(*inputs: Tensor) -> tuple:
            values, gradients = differentiated(*inputs)
            return values, over_processes(gradients)

        def embed(images: Tensor) -> Tensor:
            return feature(embedders, images, dtype)

        def adapt(view: Tensor) -> Tensor:
            return method.adapt(view)

        self._unite = None
        if self.runtime.processes.size > 1:
            statistics = [parameter for parameter in method.get_parameters() if ".running_" in parameter.name]
            self._unite = compiled(averaging(self.runtime.processes, statistics), graph)
        self._adapt = compiled(adapt, graph)
        self._losses_and_gradients, self._embed = compiled(losses_and_gradients, graph), compiled(embed, graph)
        self._chunk = 0

    def network(self, role: str) -> ReIDNetwork:
        """Return the network of a role."""
        return getattr(self.method, role)

    def _trained(self) -> list[Parameter]:
        return [p for role in self.spec.students for p in self.network(role).get_parameters() if p.requires_grad]

    def _weights(self, chosen: Iterable[str]) -> list[Parameter]:
        """Parameters of some networks without the running statistics."""
        parameters = [parameter for role in chosen for parameter in self.network(role).get_parameters()]
        return [parameter for parameter in parameters if ".running_" not in parameter.name]

    # -- the verbs --------------------------------------------------------------------------------------------

    def embed(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """Embed chunks uint8 (b, H, W, 3) in test mode -> float32 (M, N, D) (float64 in double precision).

        Chunks are padded to the largest size seen so far: another size would be compiled anew.
        """
        chunks = []
        for chunk in images:
            check_chunk(chunk)
            count = len(chunk)
            self._chunk = max(self._chunk, count)
            padded = np.zeros((self._chunk, *chunk.shape[1:]), np.uint8)
            padded[:count] = chunk
            chunks.append(self._embed(Tensor(padded)).asnumpy()[:, :count].copy())
        if not chunks:
            raise ValueError("embed needs at least one chunk of images (b, H, W, 3), got none")
        return np.concatenate(chunks, axis=1)

    def relabel(self, centroids: np.ndarray) -> None:
        """Set every classifier to the L2-normalised centroids (K, D); the optimiser starts afresh."""
        check_centroids(centroids, self.config)
        centroids = np.asarray(centroids)
        classes = len(centroids)
        if classes > self.config.capacity:
            capacity = rows_for(classes)
            log.warning("classifier grows from %d to %d rows for %d clusters", self.config.capacity, capacity, classes)
            self.import_state(grow_classifiers(self.export_state(), capacity))
        rows = np.zeros((self.config.capacity, centroids.shape[1]))
        length = np.linalg.norm(centroids.astype(np.float64), axis=1, keepdims=True)
        rows[:classes] = centroids / np.maximum(length, 1e-12)
        for role in self.spec.all:
            load(self.network(role).classifier.weight, rows)
        self._set_classes(classes)
        self.optimiser.restart()

    def _set_classes(self, classes: int) -> None:
        self._live, self._classes = classes, Tensor(classes, ms.int32)

    def step(self, batch: Batch, rate: float, ema: float) -> None:
        """Forward, backward, optimiser, mean teachers. Nothing is read back."""
        values, gradients = self.losses_and_gradients(batch)
        self.optimiser.step(gradients, rate)
        if self.teachers:
            self.teachers.step(ema)
        self._sums = values if self._sums is None else self._sums + values
        self._count += 1

    def losses_and_gradients(self, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the losses of a batch, in the order of the method's NAMES, and the trained tensors' gradients."""
        check_batch(batch, self.config, self._live)
        self.method.check(batch)
        batch = self.runtime.processes.own(batch)
        views = np.ascontiguousarray(batch.images)
        labels = Tensor(np.asarray(batch.labels, np.int32))
        noise = [] if batch.noise is None else [Tensor(np.asarray(batch.noise, np.float32))]
        seen = self.method.together
        (_, values), gradients = self._losses_and_gradients(Tensor(views[:seen]), labels, self._classes, *noise)
        for view in views[seen:]:
            self._adapt(Tensor(view))
        if self._unite:
            self._unite()
        return values, gradients

    def losses(self) -> dict[str, float]:
        """Return the means since the last call; empty when no step was done."""
        if not self._count:
            return {}
        means = (self._sums.asnumpy() / self._count).tolist()
        self._sums, self._count = None, 0
        return dict(zip(self.method.NAMES, means, strict=True))

    def export_state(self) -> dict[str, np.ndarray]:
        """Copy every network, the optimiser's moments and the counters to NumPy, in the learner's precision."""
        steps, *moments = self.optimiser.moments()
        state = {parameter.name: _copy(parameter) for parameter in self.method.get_parameters()}
        for prefix, values in zip(MOMENTS[self.config.optimiser], moments, strict=True):
            for parameter, value in zip(self._trained(), values, strict=True):
                state[prefix + parameter.name] = _copy(value)
        return state | {step_name(self.config): np.int64(steps), "classes": np.int64(self._live)}

    def import_state(self, state: dict[str, np.ndarray]) -> None:
        """Replace everything; UserError lists what does not fit. The classifier takes the state's capacity."""
        capacity = capacity_of(state, self.config)
        check_state(state, replace(self.config, capacity=capacity))
        if self.method is None or capacity != self.config.capacity:
            self._build(capacity)
        for parameter in self.method.get_parameters():
            load(parameter, state[parameter.name])
        self._set_classes(int(state["classes"]))
        names, prefixes = [parameter.name for parameter in self._trained()], MOMENTS[self.config.optimiser]
        moments = [[state[prefix + name] for name in names] for prefix in prefixes]
        self.optimiser.load(int(state[step_name(self.config)]), *moments)


def _copy(parameter: Parameter) -> np.ndarray:
    """A copy: on the CPU `asnumpy` is a view of the tensor's memory, which training goes on writing to."""
    return parameter.asnumpy().copy()
