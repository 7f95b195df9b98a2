"""Keyed randomness: a generator depends on its key, and the keying never changes by accident."""

import numpy as np

from duoreid.core.random import network_seed, rng


def test_the_same_key_gives_the_same_bytes():
    assert rng(1, "sampling", 2, 3).bytes(64) == rng(1, "sampling", 2, 3).bytes(64)


def test_every_part_of_the_key_matters():
    keys = [(1, "a", 0, 0), (2, "a", 0, 0), (1, "b", 0, 0), (1, "a", 1, 0), (1, "a", 0, 1), (-1, "a", 0, 0)]
    assert len({rng(*key).bytes(16) for key in keys}) == len(keys)


def test_parts_of_the_key_do_not_run_into_each_other():
    assert rng(1, "a", 11, 1).bytes(16) != rng(1, "a", 1, 11).bytes(16)
    assert rng(11, "a").bytes(16) != rng(1, "1/a").bytes(16)


def test_first_values_are_pinned():
    np.testing.assert_array_equal(
        rng(0, "weights").integers(0, 2**32, 4), [397644386, 3211390421, 31244965, 1938000047]
    )
    np.testing.assert_array_equal(
        rng(1, "sampling", 2, 3).integers(0, 2**32, 4), [2184022731, 2569968431, 3893989171, 1965657345]
    )


def test_integers_of_numpy_are_the_same_key():
    plain = rng(7, "sampling", 8, 9).bytes(16)
    assert rng(np.int64(7), "sampling", np.int32(8), np.uint8(9)).bytes(16) == plain


def test_defaults_are_zero():
    assert rng(3, "a").bytes(16) == rng(3, "a", 0, 0).bytes(16)


def test_neighbouring_steps_are_uncorrelated():
    draws = np.stack([rng(0, "a", 0, step).normal(size=2000) for step in range(20)])
    off_diagonal = np.corrcoef(draws) - np.eye(20)
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(2000)


def test_runs_of_different_seeds_share_no_network_of_stage_1():
    seeds = [network_seed(seed, index) for seed in range(-3, 9) for index in (0, 1)]
    assert len(set(seeds)) == len(seeds)
    assert [network_seed(1, index) for index in (0, 1)] == [1, 2]
