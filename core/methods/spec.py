"""What the rest of the library knows of a method: one object, and nothing else asks for a method by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from duoreid.core.contract.learner import Batch
from duoreid.core.methods.base import Host
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.networks.network import network_tensors
from duoreid.core.networks.tensors import Entry
from duoreid.core.settings.config import Config, LearnerConfig, NetworkConfig, ScheduleConfig

Outputs = Mapping[str, Any]
"""What each network returned in training, by role."""


PRETRAIN = "pretrain"
"""The section of stage 1, which trains on a labelled source."""


def plain_tensors(config: LearnerConfig) -> list[Entry]:
    """Return the tensors of a network with a neck and a classifier."""
    return network_tensors(BackboneConfig(config.network, config.height, config.width), config.capacity)


def no_arrays(config: LearnerConfig) -> list[Entry]:
    """Return no arrays: the method keeps nothing on the device beside its networks."""
    return []


def no_hints(tensors: Mapping[str, np.ndarray], role: str) -> dict[str, Any]:
    """Return nothing: the section's settings do not show in the shapes of the tensors."""
    return {}


@dataclass(frozen=True)
class MethodSpec:
    """A method.

    name, about: what it is called, and one line on what it does.
    recipe: the dataclass of its settings; every field of its sections is an option of the method, and no other is.
    default_preset: the recipe that holds where none is named.
    stages: sections of the recipe that it trains by, in order. The last one is its own: `host` reads it, and so does
        its half in each backend. A stage that stands before it is `pretrain`.
    examples: options of a training as one would type them, shown by its help.
    prefixes: of the options of a section, where two sections have options of one name.
    pipeline: how a whole run goes, a name of core/training/pipelines.
    datasets: fields of the recipe's data section that name a dataset; the last is the one to test on.
    host: (recipe, training sets by dataset field, seed=, processes=) -> the host half, see core/methods/base.py.
    students: networks that the optimiser trains. teachers: teacher i is the exponential mean of student i.
    views, view_counts: what the views of a batch are, and how many there may be.
    modalities: how many images of a step stand behind each label in a view of the networks.
    pseudo_labels: classes come from clusters, and the classifiers are set from their means.
    joint: the networks make one feature together, instead of one each.
    tensors: configuration -> what each network holds. arrays: configuration -> what the method itself keeps on the
        device from step to step (a memory bank), part of the state under these names.
    hints: (tensors by ROLE.TENSOR, a role) -> settings of its section that a file's shapes tell.
    oracle: (configuration, outputs by role, batch, live classes) -> losses by name in float64, "total" among them.
    published: (recipe, dataset, search, adapted) -> published (mAP, rank-1) in percent, by who published them.
    """

    name: str
    about: str
    recipe: type[Config]
    default_preset: str
    stages: tuple[str, ...]
    pipeline: str
    datasets: tuple[str, ...]
    host: Callable[..., Host]
    students: tuple[str, ...]
    views: str
    view_counts: tuple[int, ...]
    oracle: Callable[[LearnerConfig, Outputs, Batch, int], dict[str, float]]
    examples: tuple[str, ...] = ("",)
    prefixes: Mapping[str, str] = field(default_factory=dict)
    teachers: tuple[str, ...] = ()
    modalities: int = 1
    pseudo_labels: bool = False
    joint: bool = False
    tensors: Callable[[LearnerConfig], list[Entry]] = plain_tensors
    arrays: Callable[[LearnerConfig], list[Entry]] = no_arrays
    hints: Callable[[Mapping[str, np.ndarray], str], dict[str, Any]] = no_hints
    published: Callable[[Config, str, str, bool], dict[str, tuple[float, float]]] = lambda *_: {}

    @property
    def all(self) -> tuple[str, ...]:
        """Every network of the learner."""
        return self.students + self.teachers

    @property
    def embedders(self) -> tuple[str, ...]:
        """The networks whose features label and test: the teachers where there are any."""
        return self.teachers or self.students

    @property
    def section(self) -> str:
        """The section of its own stage."""
        return self.stages[-1]

    @property
    def pretrains(self) -> bool:
        """Whether networks are trained on a labelled source before the method's own stage begins."""
        return self.stages[0] == PRETRAIN and len(self.stages) > 1

    def adapted(self, stage: int) -> bool:
        """Whether networks of a stage, numbered from 1, have been trained for the target."""
        return stage > 1 or (not self.pretrains and self.section != PRETRAIN)

    @property
    def sections(self) -> tuple[str, ...]:
        """The sections of its recipe in the order of the command line."""
        last = ("run",)
        own = [item.name for item in fields(self.recipe) if item.name not in ("method", "preset", *last)]
        return (*own, *last)

    def prefix(self, section: str) -> str:
        """Return how the options of a section begin, behind their dashes."""
        return self.prefixes.get(section, "")

    def learner_config(
        self,
        network: NetworkConfig,
        capacity: int,
        classes: int,
        height: int,
        width: int,
        *,
        section: ScheduleConfig | None = None,
        **others: Any,
    ) -> LearnerConfig:
        """Return what a learner of this method is built from. section: None for the recipe's defaults."""
        section = section or getattr(self.recipe(), self.section)
        return LearnerConfig(self.name, section, network, capacity, classes, height, width, **others)

    def schedules(self, config: Config) -> list[tuple[str, ScheduleConfig]]:
        """Return the schedules that a run trains by, in order, each with the prefix of its options."""
        return [(self.prefix(stage), getattr(config, stage)) for stage in self.stages]
