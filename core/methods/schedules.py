"""Numbers that change while training goes on: learning rates by epoch, the teachers' EMA decay by step."""

from __future__ import annotations

from collections.abc import Sequence


def ema_decay(step: int, limit: float = 0.999) -> float:
    """Return min(1 - 1 / (step + 1), limit), the share of itself that a mean teacher keeps at an update.

    step: updates since training began, from 0, so that the first update copies the student.
    Raises ValueError on a negative step or a limit outside [0, 1].
    Source: Ge, Chen, Li, "Mutual Mean-Teaching", ICLR 2020, section 3.2 (limit 0.999).
    """
    if not step >= 0:
        raise ValueError(f"The EMA's step must be 0 or more, but is {step}: count updates from 0.")
    if not 0 <= limit <= 1:
        raise ValueError(f"The EMA's limit must lie in [0, 1], but is {limit}: the paper's is 0.999.")
    return min(1 - 1 / (step + 1), limit)


def warmup(epoch: int, *, warmup_epochs: int, warmup_factor: float) -> float:
    """Return the factor of linear warm-up: warmup_factor at epoch 0, growing evenly to 1 at warmup_epochs.

    Raises ValueError on a negative epoch or length, or a factor outside (0, 1].
    """
    if epoch < 0 or warmup_epochs < 0:
        raise ValueError(f"Epochs must be 0 or more, but got epoch {epoch} and warmup_epochs {warmup_epochs}.")
    if not 0 < warmup_factor <= 1:
        raise ValueError(f"warmup_factor must lie in (0, 1], but is {warmup_factor}: the usual one is 0.01.")
    if epoch >= warmup_epochs:
        return 1.0
    return warmup_factor + (1 - warmup_factor) * epoch / warmup_epochs


def warmup_multistep(
    epoch: int,
    *,
    rate: float,
    warmup_epochs: int = 10,
    warmup_factor: float = 0.01,
    milestones: Sequence[int] = (),
    gamma: float = 0.1,
    ahead: int = 0,
) -> float:
    """Return the learning rate of an epoch: linear warm-up, and times gamma from each milestone on.

    epoch: from 0. milestones: epochs, in any order. ahead: epochs by which the schedule runs ahead of the training.
    The public codes of MMT and MVD move it before each epoch: ahead=1, so that their first epoch trains at 0.109 of the
    rate and not at 0.01, and each milestone comes an epoch sooner. Raises ValueError as `warmup` does, and on a
    negative rate or `ahead`.
    """
    _check_rate(rate)
    if epoch < 0 or ahead < 0:
        raise ValueError(f"Epochs must be 0 or more, but got epoch {epoch} and a schedule {ahead} ahead of it.")
    place = epoch + ahead
    passed = sum(place >= milestone for milestone in milestones)
    return rate * gamma**passed * warmup(place, warmup_epochs=warmup_epochs, warmup_factor=warmup_factor)


def warmup_log_linear(
    epoch: int,
    *,
    rate: float,
    warmup_epochs: int = 5,
    warmup_factor: float = 0.01,
    decay_start: int = 15,
    decay_end: int = 27,
    final_factor: float = 0.5,
) -> float:
    """Return the learning rate of an epoch: linear warm-up, then a decay that is linear in the logarithm.

    The factor is 1 up to decay_start, final_factor from decay_end on and final_factor^s between them, where s
    is the share of the way. Raises ValueError where the decay does not end after it starts, or final_factor is
    not above 0 (it has no logarithm).
    """
    _check_rate(rate)
    if not warmup_epochs <= decay_start < decay_end:
        raise ValueError(
            "The decay must start once warm-up is over and end later, but got warmup_epochs "
            f"{warmup_epochs}, decay_start {decay_start} and decay_end {decay_end}: put them in this order."
        )
    if not 0 < final_factor <= 1:
        raise ValueError(f"final_factor must lie in (0, 1], but is {final_factor}: 1 means no decay.")
    share = min(max((epoch - decay_start) / (decay_end - decay_start), 0.0), 1.0)
    factor = warmup(epoch, warmup_epochs=warmup_epochs, warmup_factor=warmup_factor)
    return rate * final_factor**share * factor


def _check_rate(rate: float) -> None:
    if not rate >= 0:
        raise ValueError(f"The learning rate must be 0 or more, but is {rate}.")
