"""Batches made ahead: order, bounds, errors, early ends."""

import threading
import time

import numpy as np
import pytest

from duoreid.core.training.prefetch import prefetch


def prefetching():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("depth", [1, 3, 50])
def test_in_order_whatever_each_takes(threads, depth):
    waits = np.random.default_rng(0).random(40) * 0.003

    def make(index):
        time.sleep(waits[index])
        return index

    assert list(prefetch(make, 40, depth=depth, threads=threads)) == list(range(40))
    assert not prefetching()


def test_none_at_all():
    assert list(prefetch(lambda i: i, 0)) == []


def test_no_more_than_depth_ahead():
    started = []
    results = prefetch(lambda i: started.append(i), 100, depth=4, threads=3)
    for taken in range(1, 20):
        next(results)
        time.sleep(0.002)
        assert max(started) < taken + 4
    results.close()


def test_works_while_the_consumer_does():
    made = [threading.Event() for _ in range(21)]
    made[20].set()

    def make(index):
        made[index].set()
        return index

    for index in prefetch(make, 20, depth=3, threads=2):
        assert made[index + 1].wait(5)  # the next one is made without being asked for


def test_an_error_comes_where_its_result_would_have():
    def make(index):
        if index == 3:
            raise KeyError("three")
        return index

    results = prefetch(make, 10)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(results)
    assert not prefetching()


def test_threads_end_when_the_consumer_stops():
    calls = []

    def make(index):
        calls.append(index)
        time.sleep(0.01)
        return index

    for _ in prefetch(make, 1000, depth=50, threads=1):
        break
    made = len(calls)
    assert not prefetching()
    assert made < 40  # what was waiting for its turn is not made any more
    time.sleep(0.05)
    assert len(calls) == made


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"threads": 0}, {"count": -1}])
def test_bad_numbers_are_refused_at_the_call(wrong):
    count = wrong.pop("count", 3)
    with pytest.raises(ValueError, match="at least"):
        prefetch(lambda i: i, count, **wrong)
