"""What both backends are asked to compute: one state, images and batches, from keyed random numbers alone.

Everything follows from an `Exam`, on any machine: a record carries the digest of these bytes, and records whose digests
differ are not compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.benchmarks.parity.sampling import Arrays
from duoreid.core.checkpoints import files as checkpoint
from duoreid.core.commands.options import recipe_of
from duoreid.core.contract.learner import Batch
from duoreid.core.contract.pairs import mixed_rows
from duoreid.core.contract.state import MOMENTS, capacity_of, check_state, initial, step_name
from duoreid.core.data import INFRARED, VISIBLE, Split, TrainingSet
from duoreid.core.errors import UserError
from duoreid.core.methods.base import Host, Labelling
from duoreid.core.methods.registry import spec_of
from duoreid.core.methods.spec import MethodSpec
from duoreid.core.networks.images import GREY_WEIGHTS
from duoreid.core.random import rng
from duoreid.core.settings.config import Config, LearnerConfig, NetworkConfig, option, validate
from duoreid.core.settings.presets import presets

EACH = 4  # pictures of a person (of each modality) to train on, and as many of others to test on
SPARE = 4  # rows of the classifiers behind the live ones
GRID = (8, 4)  # patches of colour that a person is made of


@dataclass(frozen=True)
class Exam:
    """The settings of a comparison.

    section: settings of the method's own stage that differ from this comparison's, by name (options.py).
    """

    method: str = option("mmt", "method", choices=("mmt", "baseline", "mvd"))
    size: str = option("64x32", "height and width of the images")
    steps: int = option(100, "steps of training in float32", least=1)
    identities: int = option(4, "identities in a batch (P)", least=2)
    images: int = option(4, "images of each identity in a batch (K)", least=1)
    people: int = option(12, "people to train on, and as many others to test on", least=2)
    layer_images: int = option(4, "images of the batch that are followed layer by layer", least=4)
    batches: int = option(3, "batches whose gradients are compared, by their median", least=1)
    seed: int = option(1, "seed of the state, the people and the batches")
    state: str = option("", "checkpoint of a run to start from; empty: numbers drawn for the purpose")
    network: NetworkConfig = field(default_factory=NetworkConfig)
    section: dict[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> MethodSpec:
        return spec_of(self.method)

    @property
    def cross_modal(self) -> bool:
        """Whether people are seen in colour and in infrared, by networks with bottlenecks."""
        return self.spec.modalities > 1

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Height and width; UserError where `size` is not HEIGHTxWIDTH."""
        parts = self.size.split("x")
        if len(parts) != 2 or not all(part.isdigit() for part in parts):
            raise UserError(f"--size must be HEIGHTxWIDTH, such as 256x128, got {self.size!r}")
        return int(parts[0]), int(parts[1])

    def check(self) -> None:
        """Raise an error for settings that do not go together, before a backend is started."""
        group = self.learner.network.batch_norm_group  # with what the method itself checks
        rows = self.identities * self.images * self.spec.modalities
        if self.people < self.identities:
            raise UserError(
                f"--people {self.people} are too few: a batch shows {self.identities} of them (--identities). "
                "Take at least as many."
            )
        for count, words in ((rows, "a batch"), (min(rows, self.layer_images), "--layer-images")):
            if 0 < group < count and count % group:
                raise UserError(
                    f"--batch-norm-group {group} does not divide the {count} images of {words}: statistics are "
                    "taken over whole groups. Take a divisor."
                )

    @cached_property
    def config(self) -> Config:
        """A run's configuration around these settings: constant rates, and every term that the method knows."""
        spec, (height, width) = self.spec, self.shape
        base = recipe_of(spec, presets())
        section = getattr(base, spec.section)
        wanted = {"rate": 3.5e-4, "erase": 0.5, "ema_limit": 0.999, "cml": 1.0} | self.section
        wanted |= {"identities": self.identities, "images": self.images, "iterations": max(self.steps, self.batches)}
        wanted |= {"clusters": self.people, "warmup_epochs": 0, "milestones": ()}
        known = {name: value for name, value in wanted.items() if hasattr(section, name)}
        config = replace(
            base,
            method=self.method,
            network=self.network,
            data=replace(base.data, height=height, width=width),
            **{spec.section: replace(section, **known)},
            run=replace(base.run, seed=self.seed),
        )
        validate(config)
        return config

    @cached_property
    def host(self) -> Host:
        """The method's host half on the people to train on."""
        return self.spec.host(self.config, dict.fromkeys(self.spec.datasets, self.train))

    @cached_property
    def learner(self) -> LearnerConfig:
        """What a backend builds: a few rows of the classifier stay dead, so that their mask is seen to work."""
        capacity = capacity_of(self._loaded, self.host.learner_config()) if self.state else self.people + SPARE
        return replace(self.host.learner_config(), capacity=capacity, classes=self.people)

    @property
    def mixed(self) -> int:
        """Images of a group of batch norm that is mixed of both modalities, 0 where groups are not mixed."""
        return self.network.batch_norm_group if getattr(self.learner.section, "mixed_groups", False) else 0

    def as_seen(self, rows: np.ndarray | None) -> np.ndarray | None:
        """Return rows of a branch, one modality behind the other, in the order in which training computes them."""
        if rows is None or not 0 < self.mixed < len(rows):
            return rows
        return rows[mixed_rows(len(rows), self.mixed)]

    @property
    def words(self) -> dict[str, str]:
        """The network, the size of the images and of a batch, and other options than the usual ones, for people."""
        each = f"({self.images} + {self.images})" if self.cross_modal else self.images
        usual = Exam(method=self.method, people=self.people)
        usual = vars(NetworkConfig(self.network.arch)) | vars(getattr(usual.config, self.spec.section))
        chosen = {name: value for name, value in (vars(self.network) | self.section).items() if value != usual[name]}
        words = {"network": f"{self.method}, {self.network.arch}", "batch": f"{self.size}, {self.identities} x {each}"}
        return words | {"options": ", ".join(f"{name} {value}" for name, value in chosen.items())}

    @property
    def queries(self) -> np.ndarray:
        """Which pictures of the test people search for the others, bool: infrared ones, or the first of each."""
        split = self.test.split
        return split.modalities == INFRARED if self.cross_modal else np.arange(len(split)) % EACH == 0

    def batch(self, step: int) -> Batch:
        """Return the batch of a step."""
        labelling, rows = self._epoch
        return self.host.batch(labelling, rows[step], 0, step)

    def rates(self, step: int) -> tuple[float, float]:
        """Return (learning rate, decay of the mean teachers) of a step."""
        return self.host.rates(0, step)

    @cached_property
    def _epoch(self) -> tuple[Labelling, np.ndarray]:
        labelling = Labelling(self.train.split.identities.astype(np.int32), self.people)
        return labelling, self.host.sample(labelling, 0)

    @cached_property
    def train(self) -> TrainingSet:
        """The people to train on."""
        return self._people("train")

    @cached_property
    def test(self) -> TrainingSet:
        """Other people, to search for."""
        return self._people("test")

    def _people(self, split: str) -> TrainingSet:
        modalities = (VISIBLE, INFRARED)[: self.spec.modalities]
        keys = [(p, m, k) for p in range(self.people) for m in modalities for k in range(EACH)]
        pixels = np.stack([picture(self.seed, f"{split}/{p}", m, k, *self.shape) for p, m, k in keys])
        people, seen, cameras = np.array(keys).T.astype(np.int32)
        files = tuple(f"{split}/{p}-{m}-{k}" for p, m, k in keys)
        return TrainingSet("parity", pixels, Split(files, people, cameras % 2, seen.astype(np.uint8)))

    @cached_property
    def _loaded(self) -> Arrays:
        return checkpoint.load(Path(self.state))[0]

    @cached_property
    def start(self) -> Arrays:
        """The state that training starts from: float32, every tensor different, an optimiser that has done no step."""
        state = self._loaded if self.state else drawn(self.learner, self.seed)
        check_state(state, self.learner, f"--state {self.state}" if self.state else "the state")
        kept = MOMENTS[self.learner.optimiser]
        moments = {name: np.zeros_like(value) for name, value in state.items() if name.startswith(kept)}
        return state | moments | {step_name(self.learner): np.int64(0), "classes": np.int64(self.people)}

    @cached_property
    def digest(self) -> str:
        """Digest of the state, of the images and of the first batch."""
        arrays = {"train": self.batch(0).images, "test": self.test.images}
        return checkpoint.digest(self.start | {f"parity/{name}": value for name, value in arrays.items()})


def picture(seed: int, person: str, modality: int, index: int, height: int, width: int) -> np.ndarray:
    """Return one picture of a person, uint8 (height, width, 3): its own patches of colour, disturbed.

    Sums of even random numbers, element by element: the same bytes on every machine.
    """
    own = rng(seed, f"parity/{person}").random((*GRID, 3))
    draw = rng(seed, f"parity/{person}/{modality}", index)
    patches = 0.65 * own + 0.35 * draw.random((*GRID, 3))
    rows, columns = np.arange(height) * GRID[0] // height, np.arange(width) * GRID[1] // width
    image = np.roll(patches[rows][:, columns], draw.integers(-2, 3, 2), (0, 1)) * (0.6 + 0.3 * draw.random())
    if modality == INFRARED:
        light = sum(weight * image[..., channel] for channel, weight in enumerate(GREY_WEIGHTS))
        image = np.repeat((0.9 - light)[..., None], 3, axis=2)
    return (255 * np.clip(image + 0.1 * draw.random((height, width, 1)), 0, 1)).astype(np.uint8)


def drawn(config: LearnerConfig, seed: int) -> Arrays:
    """Return a state in which no tensor is constant and none is another's copy, with activations of size about 1.

    Norms are drawn around the usual values, the last one of a block small, as in trained residual networks; the rows of
    the classifiers have length 1; teachers lie near their students, with running statistics of their own.
    """
    state, chosen = {}, spec_of(config.method)
    for name, value in initial(config, seed).items():
        state[name] = _varied(name, value, rng(seed, f"parity/{name}")) if np.ndim(value) else value
    for teacher, student in zip(chosen.teachers, chosen.students, strict=False):
        for name in [name for name in state if name.startswith(f"{teacher}.") and ".running_" not in name]:
            own = state[f"{student}.{name.removeprefix(f'{teacher}.')}"]
            state[name] = np.float32(0.9) * own + np.float32(0.1) * state[name]
    return state


def _varied(name: str, value: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    if name.endswith(("classifier.weight", ".gamma")):
        row = np.sqrt(value.size / len(value)) if value.ndim > 1 else 10.0
        return ((2 * draw.random(value.shape) - 1) * np.sqrt(3) / row).astype(np.float32)
    if value.ndim > 1:
        return (value * (0.9 + 0.2 * draw.random(value.shape))).astype(np.float32)
    if name.endswith(("running_mean", "bias")):
        return (0.2 * draw.random(value.shape) - 0.1).astype(np.float32)
    scale = 0.3 if name.endswith(LAST_NORMS) and "layer" in name else 1.0
    return (scale * (0.6 + 0.8 * draw.random(value.shape))).astype(np.float32)


BESIDE = sum(MOMENTS.values(), ())
"""How the names of tensors begin that the optimiser keeps beside the networks."""

LAST_NORMS = ("bn3.weight",)
"""Ends of the names of scales that are drawn smaller: without that, 16 blocks in test mode grow numbers beyond 1e4."""


def disturbed(state: Arrays, draw: int, size: float = 1e-7) -> Arrays:
    """Return the state with its weights multiplied by 1 + size times a normal number: the noise of float32."""
    moved = dict(state)
    for name, value in state.items():
        if np.ndim(value) and not name.startswith(BESIDE) and ".running_" not in name:
            noise = size * rng(draw, f"noise/{name}").standard_normal(value.shape)
            moved[name] = (value * (1 + noise)).astype(value.dtype)
    return moved
