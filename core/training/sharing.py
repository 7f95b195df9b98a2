"""How the processes of a job share a run's batches, and which settings do not let them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from duoreid.core.errors import UserError
from duoreid.core.methods.registry import spec_of
from duoreid.core.numeric.sharing import Processes
from duoreid.core.settings.config import Config


def check_batches(processes: Processes, config: Config) -> None:
    """Raise UserError where a batch, or batch norm's groups, cannot be cut into a part for each process.

    Every stage is looked at before the first begins: a batch of the last one would else be refused after hours.
    """
    if processes.size == 1:
        _check_groups(config)
        return
    group, spec = config.network.batch_norm_group, spec_of(config.method)
    for prefix, schedule in spec.schedules(config):
        prefix = prefix.replace("_", "-")
        size = schedule.identities * schedule.images
        if size % processes.size:
            raise UserError(
                f"a batch of --{prefix}identities {schedule.identities} x --{prefix}images {schedule.images} = {size} "
                f"images cannot be cut into {processes.size} equal parts, one for each process: start a number of "
                "processes that divides it, or change the batch."
            )
        mixed = getattr(schedule, "mixed_groups", False)  # a group then holds rows of every modality
        part = size // processes.size * (spec.modalities if mixed else 1)
        if group > part or (group and part % group):
            raise UserError(
                f"--batch-norm-group {group} must divide the {part} images that each of the {processes.size} processes "
                f"sees of a batch of {size}: start fewer processes, or take a smaller group, or --batch-norm-group 0 "
                "for statistics over what each process sees."
            )


def _check_groups(config: Config) -> None:
    """Raise UserError where batch norm's groups do not divide the images of a step, in whichever stage."""
    group, spec = config.network.batch_norm_group, spec_of(config.method)
    both = f" x {spec.modalities} modalities" if spec.modalities > 1 else ""
    for prefix, schedule in spec.schedules(config):
        images = schedule.identities * schedule.images * spec.modalities
        if 0 < group < images and images % group:
            flags = [f"--{prefix}{name}".replace("_", "-") for name in ("identities", "images")]
            raise UserError(
                f"--batch-norm-group {group} does not divide the {images} images of a step "
                f"({flags[0]} {schedule.identities} x {flags[1]} {schedule.images}{both}): statistics are taken over "
                "whole groups. Take a divisor, or 0 for the whole batch."
            )


def how_cut(processes: Processes, config: Config) -> str:
    """Return what a user should know of how batches are cut."""
    group, spec = config.network.batch_norm_group, spec_of(config.method)
    cut = [schedule.identities * schedule.images // processes.size for _, schedule in spec.schedules(config)]
    parts = " and ".join(str(part) for part in dict.fromkeys(cut))
    if group:
        return f"each process sees {parts} rows of a batch; the run is that of one process"
    if spec.modalities > 1:
        return (
            f"each process sees {parts} rows of a batch in both modalities, and takes batch-norm statistics over them; "
            "with --batch-norm-group the run would be that of one process"
        )
    return f"each process sees {parts} rows of a batch: the run is that of one process with --batch-norm-group {parts}"


def check_same_processes(processes: Processes, config: Config, backends: Sequence[Mapping[str, Any]]) -> None:
    """Raise UserError where going on with another number of processes would change batch norm's statistics.

    backends: who has computed the run so far, see core.training.snapshot.Past. With groups of images the number does
    not matter.
    """
    last = backends[-1] if backends else {"processes": processes.size}
    before = last.get("processes", last.get("ranks", 1))  # as version 0.1 called them
    if before != processes.size and not config.network.batch_norm_group:
        raise UserError(
            f"the run takes batch-norm statistics over what each of its {before} process(es) sees, so it goes on "
            f"exactly with that number of processes only, and this job has {processes.size}. A run with "
            "--batch-norm-group can change it."
        )
