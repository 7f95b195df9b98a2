import subprocess
import sys
import threading
import time

import pytest

from duoreid.core.numeric.threads import _controller, each


def blas_threads():
    """By library, NumPy's among them. One that OpenMP runs (faiss's, loaded by other tests) counts for each thread."""
    libraries = [library for library in _controller().info() if library["user_api"] == "blas"]
    return [library["num_threads"] for library in libraries if library.get("threading_layer") != "openmp"]


@pytest.fixture(autouse=True)
def _two_threads():
    """For products, whatever OMP_NUM_THREADS says: with one, nothing here could fail."""
    with _controller().limit(limits=2, user_api="blas"):
        assert set(blas_threads()) == {2}
        yield


@pytest.fixture
def four(monkeypatch):
    monkeypatch.setattr("duoreid.core.numeric.threads.workers", lambda: 4)


def test_results_keep_their_order(four):
    def slow(part):
        time.sleep((7 - part) / 1000)
        return part * part

    assert each(slow, range(8)) == [part * part for part in range(8)]
    assert each(slow, []) == []


def test_threads_share_the_parts(four):
    meet = threading.Barrier(4, timeout=30)
    names = each(lambda _: (meet.wait(), threading.get_ident())[1], range(4))
    assert len(set(names)) == 4


def test_products_use_one_thread_within_parts_and_as_many_as_before_after_them(four):
    before = blas_threads()
    assert before
    assert all(set(inside) == {1} for inside in each(lambda _: blas_threads(), range(6)))
    assert blas_threads() == before


def test_callers_that_overlap_leave_as_many_threads_as_before(four):
    before = blas_threads()
    callers = [threading.Thread(target=each, args=(lambda _: time.sleep(0.002), range(9))) for _ in range(5)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert blas_threads() == before


def test_an_exception_is_raised_and_ends_the_rest(four):
    done = []

    def fails(part):
        if part == 2:
            raise ValueError("part 2")
        time.sleep(0.005)
        done.append(part)

    before = blas_threads()
    with pytest.raises(ValueError, match="part 2"):
        each(fails, range(500))
    assert len(done) < 100
    assert blas_threads() == before


THREADS = """
import zlib, numpy as np
from duoreid.core.jaccard import jaccard_similarity
from duoreid.core.kmeans import kmeans
random = np.random.default_rng(0)
features = random.integers(-9, 10, (2500, 60)) @ random.integers(-9, 10, (60, 512))  # whole: no rounding in the product
features = (features / 100).astype(np.float32)
result = kmeans(features, 130, seed=5, iterations=12)
features /= np.linalg.norm(features, axis=1, keepdims=True)
graph = jaccard_similarity(features, radius=0.8)
print(zlib.crc32(graph.indices.tobytes()), zlib.crc32(graph.data.tobytes()))
print(zlib.crc32(result.labels.tobytes()), zlib.crc32(result.centroids.tobytes()), result.inertia.hex())
"""


def test_same_bytes_whatever_the_number_of_threads():
    def run(threads):
        variables = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", THREADS], env=variables, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert run("1") == run("2")
