"""Trained networks from a file, ready to be tested or exported: checkpoints, exports, and weights from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from duoreid.core.checkpoints import formats, weights
from duoreid.core.checkpoints.layouts_mvd import JointFile, public_of
from duoreid.core.contract.state import at_rest, initial, network
from duoreid.core.errors import UserError, unknown
from duoreid.core.methods.registry import DEFAULT, SINGLE, holder_of, spec_of
from duoreid.core.methods.spec import MethodSpec
from duoreid.core.networks.backbone import BackboneConfig
from duoreid.core.settings.config import Config, LearnerConfig, NetworkConfig
from duoreid.core.settings.reading import current, from_dict

ALONE = "network"
"""Name of the network of a file that has no roles."""

LABELS = "labels"
"""What an interrupted run trains on, beside its networks; see core/training/snapshot.py."""


@dataclass(frozen=True)
class Model:
    """What makes one feature of an image: a learner's configuration and its state."""

    config: LearnerConfig
    state: dict[str, np.ndarray]

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the tensors by canonical name, under their roles where several networks make the feature together."""
        spec = spec_of(self.config.method)
        if not spec.joint:
            return network(self.state, spec.students[0])
        return {f"{role}.{name}": value for role in spec.all for name, value in network(self.state, role).items()}


@dataclass(frozen=True)
class Trained:
    """The models of one file.

    config: of the run that trained them; for a file from elsewhere the defaults, with its architecture. models: by the
    name of their network. adapted: trained on the target (stage 2). known: the configuration is the run's own and not
    a default. sized: the file tells the size of its images, by the public code that wrote it. trial: the training split
    that the run saw, 0 where that is not recorded. report: of the import, where the file is from elsewhere; which file
    was taken, where a run's folder was given. threshold: what `calibrate` has stored.
    """

    path: Path
    config: Config
    models: dict[str, Model]
    adapted: bool = False
    known: bool = True
    sized: bool = False
    trial: int = 0
    report: str = ""
    threshold: dict[str, Any] | None = None

    def one(self, role: str = "") -> str:
        """Return the network that is meant where one is needed: the first, as `open_trained` has chosen them by `role`.

        So it is the one that was named, else the first of those that embed. UserError for "all" of several.
        """
        if role == "all" and len(self.models) > 1:
            raise UserError(f"{self.path} holds {', '.join(self.models)}, and one is needed: name it, not all.")
        return next(iter(self.models))


def open_trained(
    path: str | Path,
    role: str = "",
    arch: str = "",
    stem_relu: bool | None = None,
    size: tuple[int | None, int | None] = (None, None),
) -> Trained:
    """Read the networks of a file, or of the last state in a run's folder.

    role: "" for those that embed (the mean teachers where there are any), "all", or one by name. arch, stem_relu,
    size: of a file from elsewhere, which does not say them; height and width of its images. UserError says what does
    not fit.
    """
    contents = formats.read(path)
    if contents.kind != formats.CHECKPOINT or "config" not in contents.metadata:
        if public := public_of(contents):
            return _public(public, role, arch, stem_relu, size)
        return _foreign(contents.path, role, arch, stem_relu, size)
    settings, position = contents.metadata["config"], contents.metadata.get("position", {})
    if not isinstance(settings, dict) or not isinstance(position, dict):
        raise UserError(f"{path} says nothing of its settings that can be read: another version wrote it.")
    try:
        base = spec_of(settings.get("method", "")).recipe()
        config = from_dict(base, current(settings, base))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"the settings in {contents.path} cannot be read: {error}") from error
    for option, asked, stands in (
        ("arch", arch, config.network.arch),
        ("stem_relu", stem_relu, config.network.stem_relu),
    ):
        if asked not in ("", None, stands):
            raise UserError(
                f"{path} was trained with {option} {stands}, not {asked}: leave the option out, the file knows it."
            )
    metadata = contents.metadata
    taken = f"{path}: its last state, {contents.path.name}" if Path(path).is_dir() else ""
    trained = Trained(contents.path, config, {}, trial=_trial(metadata, config), report=taken)
    trained = replace(trained, threshold=metadata.get("threshold"))
    roles = [match.group(1) for name in contents.tensors if (match := re.fullmatch(weights.ROLE, name))]
    if not roles:
        name = str(metadata.get("network", ALONE))
        if role not in ("", "all", name):
            raise unknown(f"network of {contents.path}", role, [name])
        models = {name: _single(contents.tensors, config)}
        return replace(trained, models=models, adapted=bool(metadata.get("adapted")))
    spec = holder_of(roles, config.method)
    if spec is not None and spec.joint:
        _refuse_part(contents.path, role, spec)
        return replace(trained, models={spec.name: _joint(contents.tensors, config, spec)})
    embedders = list(spec.embedders) if spec else roles
    if role not in ("", "all", *roles):
        raise unknown(f"network of {contents.path}", role, [*roles, "all"])
    chosen = roles if role == "all" else [role] if role else embedders
    models = {name: _single(network(contents.tensors, name), config) for name in chosen}
    stage = metadata.get("stage") or position.get("stage") or (2 if len(roles) > 1 else 1)
    return replace(trained, models=models, adapted=spec_of(config.method).adapted(stage))


def _trial(metadata: Mapping[str, Any], config: Config) -> int:
    """Return the training split that a file's networks saw, 0 where the run has none.

    A snapshot of an interrupted run says by its position which of the run's trials it was at.
    """
    trials = getattr(config.data, "trials", ())
    if "trial" in metadata or not trials:
        return int(metadata.get("trial", 0))
    at = int(metadata.get("position", {}).get("network", 0))
    if not 0 <= at < len(trials):
        raise UserError(
            f"the file stands at trial number {at + 1} of a run over the trials {list(trials)}: it is damaged."
        )
    return trials[at]


def _single(tensors: Mapping[str, np.ndarray], config: Config) -> Model:
    """One network by itself, in a learner of the plainest method."""
    rows = len(tensors["classifier.weight"]) if "classifier.weight" in tensors else 1
    data = config.data
    spec = spec_of(SINGLE)
    settings = spec.learner_config(config.network, rows, rows, data.height, data.width)
    state = initial(settings, seed=0)
    return Model(settings, state | {f"{spec.students[0]}.{name}": value for name, value in tensors.items()})


def _joint(tensors: Mapping[str, np.ndarray], config: Config, spec: MethodSpec) -> Model:
    """All networks of a method whose feature is one; where the optimiser's moments are not in the file they are 0."""
    rows = len(tensors[f"{spec.students[0]}.classifier.weight"])
    data, section = config.data, getattr(config, spec.section)
    size = (rows, rows, data.height, data.width)
    optimiser = getattr(section, "optimiser", "adam")
    settings = spec.learner_config(config.network, *size, section=section, optimiser=optimiser)
    return Model(settings, at_rest(settings) | {name: value for name, value in tensors.items() if name != LABELS})


def _refuse_part(path: str | Path, role: str, spec: MethodSpec) -> None:
    if role not in ("", "all", spec.name):
        raise UserError(
            f"{path} holds {spec.name}, whose feature its networks {', '.join(spec.all)} make together: leave "
            f"--network {role} out."
        )


def _public(
    public: JointFile, role: str, arch: str, stem_relu: bool | None, size: tuple[int | None, int | None]
) -> Trained:
    """Return the networks of a file of a method's public code, with the settings of the recipe that follows it."""
    config, spec = public.config, spec_of(public.config.method)
    _refuse_part(public.path, role, spec)
    for option, asked, stands in (
        ("arch", arch, config.network.arch),
        ("stem_relu", stem_relu, config.network.stem_relu),
    ):
        if asked not in ("", None, stands):
            raise UserError(
                f"{public.path} is a file of {public.layout.name}, whose {option} is {stands}, not {asked}: leave the "
                "option out."
            )
    known = {name: value for name, value in zip(("height", "width"), size, strict=True) if value is not None}
    config = replace(config, data=replace(config.data, **known))
    models = {spec.name: _joint(public.tensors, config, spec)}
    return Trained(public.path, config, models, known=False, sized=True, report=public.report)


def _foreign(path: Path, role: str, arch: str, stem_relu: bool | None, size: tuple[int | None, int | None]) -> Trained:
    if not arch:
        raise UserError(
            f"{path} is no checkpoint of this library and does not say its architecture: give --arch, such as "
            "--arch resnet50."
        )
    if role not in ("", "all", ALONE):
        raise UserError(f"{path} is no checkpoint of this library and holds one network: leave --network {role} out.")
    settings = NetworkConfig(arch=arch, stem_relu=True if stem_relu is None else stem_relu)
    known = {name: value for name, value in zip(("height", "width"), size, strict=True) if value is not None}
    base = spec_of(DEFAULT).recipe()
    base = replace(base, data=replace(base.data, **known))
    if joint := weights.load_joint(path):
        method, tensors = joint
        spec = spec_of(method)
        plain = spec.recipe()
        section = replace(getattr(plain, spec.section), **spec.hints(tensors, spec.students[0]))
        data = replace(plain.data, **known)
        config = replace(plain, data=data, network=settings, **{spec.section: section})
        report = (
            f"{path} holds tensors and no settings: those of --preset {plain.preset} hold, but for what shapes tell. A "
            "run's or an exported .safetensors has its own."
        )
        return Trained(path, config, {method: _joint(tensors, config, spec)}, known=False, report=report)
    built = BackboneConfig(settings, base.data.height, base.data.width)
    tensors, report = weights.load(path, built, fixed=() if stem_relu is None else ("stem_relu",))
    config = replace(base, network=report.network)
    return Trained(path, config, {ALONE: _single(tensors, config)}, known=False, report=str(report))
