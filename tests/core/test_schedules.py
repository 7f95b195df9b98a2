"""Schedules at their known points."""

import numpy as np
import pytest

from duoreid.core.methods.schedules import ema_decay, warmup_log_linear, warmup_multistep

MULTISTEP = {"rate": 3.5e-4, "warmup_epochs": 10, "warmup_factor": 0.01, "milestones": (40, 70), "gamma": 0.1}
LOG_LINEAR = {"rate": 1.0, "warmup_epochs": 5, "decay_start": 15, "decay_end": 27, "final_factor": 0.25}


def test_ema_decay_copies_first_averages_next_and_stops_at_the_limit():
    assert [ema_decay(step) for step in (0, 1, 3, 997, 10**6)] == pytest.approx([0, 0.5, 0.75, 1 - 1 / 998, 0.999])
    assert ema_decay(999) == ema_decay(1000) == 0.999
    assert ema_decay(5, limit=0.5) == 0.5


def test_ema_of_a_sequence_is_its_mean_until_the_limit():
    values, average = np.arange(10.0), 123.0
    for step, value in enumerate(values):
        keep = ema_decay(step)
        average = keep * average + (1 - keep) * value
    assert average == pytest.approx(values.mean())


def test_multistep_by_hand():
    rates = {epoch: warmup_multistep(epoch, **MULTISTEP) for epoch in (0, 5, 9, 10, 39, 40, 69, 70, 79)}
    factors = [0.01, 0.505, 0.901, 1, 1, 0.1, 0.1, 0.01, 0.01]
    assert list(rates.values()) == pytest.approx([3.5e-4 * factor for factor in factors])


def test_multistep_grows_evenly_and_then_never():
    rates = np.array([warmup_multistep(epoch, **MULTISTEP) for epoch in range(80)])
    np.testing.assert_allclose(np.diff(rates[:11]), 3.5e-4 * 0.099)
    assert (np.diff(rates[10:]) <= 0).all()


def test_multistep_without_warmup_or_milestones_is_constant():
    assert {warmup_multistep(epoch, rate=2.0, warmup_epochs=0) for epoch in range(50)} == {2.0}


def test_a_schedule_ahead_is_the_next_epochs():
    ahead = [warmup_multistep(epoch, **MULTISTEP, ahead=1) for epoch in range(79)]
    assert ahead == [warmup_multistep(epoch, **MULTISTEP) for epoch in range(1, 80)]
    assert [ahead[epoch] / 3.5e-4 for epoch in (0, 9, 38, 39, 69)] == pytest.approx([0.109, 1, 1, 0.1, 0.01])


def test_milestones_may_come_in_any_order():
    assert warmup_multistep(50, **{**MULTISTEP, "milestones": (70, 40)}) == pytest.approx(3.5e-5)


def test_log_linear_by_hand():
    rates = [warmup_log_linear(epoch, **LOG_LINEAR) for epoch in (0, 5, 15, 18, 21, 27, 79)]
    assert rates == pytest.approx([0.01, 1, 1, 0.25**0.25, 0.5, 0.25, 0.25])


def test_log_linear_falls_by_one_ratio_each_epoch():
    rates = np.array([warmup_log_linear(epoch, **LOG_LINEAR) for epoch in range(15, 28)])
    np.testing.assert_allclose(rates[1:] / rates[:-1], 0.25 ** (1 / 12))


def test_values_at_the_limits_are_accepted():
    assert ema_decay(9, limit=1.0) == pytest.approx(0.9)
    assert ema_decay(9, limit=0.0) == 0
    assert warmup_multistep(0, rate=0.0) == 0
    assert warmup_multistep(0, rate=1.0, warmup_factor=1.0) == 1
    assert warmup_log_linear(27, **{**LOG_LINEAR, "warmup_epochs": 15, "final_factor": 1.0}) == 1


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: ema_decay(-1), "0 or more"),
        (lambda: ema_decay(float("nan")), "0 or more"),
        (lambda: ema_decay(1, limit=1.5), "limit"),
        (lambda: warmup_multistep(-1, **MULTISTEP), "0 or more"),
        (lambda: warmup_multistep(-1, **MULTISTEP, ahead=1), "0 or more"),
        (lambda: warmup_multistep(1, **MULTISTEP, ahead=-1), "ahead"),
        (lambda: warmup_multistep(1, **{**MULTISTEP, "warmup_factor": 0.0}), "warmup_factor"),
        (lambda: warmup_multistep(1, **{**MULTISTEP, "rate": float("nan")}), "learning rate"),
        (lambda: warmup_log_linear(1, **{**LOG_LINEAR, "decay_end": 15}), "decay_start"),
        (lambda: warmup_log_linear(1, **{**LOG_LINEAR, "final_factor": 0.0}), "final_factor"),
    ],
)
def test_bad_input_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()
