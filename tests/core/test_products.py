import numpy as np
import pytest

from duoreid.core.neighbours import nearest
from duoreid.core.numeric import products, threads
from duoreid.core.numeric.products import Choice, Library, compared, libraries, product
from tests.core.features import clustered

LAYOUTS = {
    "rows": lambda a: a,
    "columns": np.asfortranarray,
    "wider lines": lambda a: np.pad(a, ((0, 0), (1, 2)))[:, 1:-2],
    "every second line": lambda a: np.repeat(a, 2, axis=0)[::2],
    "every second column": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "backwards": lambda a: a[::-1][:, ::-1].copy()[::-1, ::-1],
}


@pytest.fixture
def scipy_chosen(monkeypatch):
    """As on a processor that NumPy's BLAS does not know."""

    def chosen():
        products._scipy_gemm(np.dtype(np.float32))
        return Choice("scipy", "asked for", libraries())

    monkeypatch.setattr(products, "chosen", chosen)
    monkeypatch.setattr(threads, "chosen", chosen)
    threads._controller.cache_clear()
    yield
    threads._controller.cache_clear()


@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scipy_multiplies_every_layout(left, right, dtype, scipy_chosen):
    random = np.random.default_rng(0)
    for rows, depth, columns in ((5, 3, 7), (1, 1, 1), (7, 1, 3), (1, 9, 1), (130, 64, 257)):
        first, second = random.integers(-9, 9, (rows, depth)), random.integers(-9, 9, (depth, columns))
        given = LAYOUTS[left](first.astype(dtype)), LAYOUTS[right](second.astype(dtype))
        result = product(*given)
        assert result.dtype == dtype
        np.testing.assert_array_equal(result, first @ second)  # whole numbers: nothing rounds
        out = np.full((rows, columns), np.nan, dtype)
        assert product(*given, out=out) is out
        np.testing.assert_array_equal(out, first @ second)


@pytest.mark.parametrize("owner", ["numpy", "scipy"])
@pytest.mark.parametrize("count", [1, 255, 256, 700])
def test_a_product_with_the_own_transpose_is_symmetric(owner, count, request):
    if owner == "scipy":
        request.getfixturevalue("scipy_chosen")
    rows = np.random.default_rng(1).standard_normal((count, 61)).astype(np.float32)
    square = product(rows, rows.T)
    np.testing.assert_array_equal(square, square.T)
    np.testing.assert_allclose(square, rows.astype(np.float64) @ rows.T, atol=1e-4)


def test_nothing_and_other_dtypes_are_left_to_numpy(scipy_chosen):
    assert product(np.zeros((0, 3), np.float32), np.zeros((3, 4), np.float32)).shape == (0, 4)
    assert (product(np.zeros((2, 0), np.float32), np.zeros((0, 4), np.float32)) == 0).all()
    assert product(np.ones((2, 3), np.int64), np.ones((3, 2), np.int64)).dtype == np.int64


@pytest.mark.parametrize(
    ("shapes", "dtypes", "out"),
    [
        (((2, 3), (2, 3)), ("f4", "f4"), None),
        (((2, 3), (3, 2)), ("f4", "f8"), None),
        (((6,), (6, 1)), ("f4", "f4"), None),
    ]
    + [(((2, 3), (3, 2)), ("f4", "f4"), np.zeros(shape, dtype)) for shape, dtype in (((2, 3), "f4"), ((2, 2), "f8"))],
)
def test_scipy_refuses_what_does_not_fit(shapes, dtypes, out, scipy_chosen):
    left, right = (np.ones(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True))
    with pytest.raises(ValueError, match=r"a product needs|out must be"):
        product(left, right, out)


def test_search_by_either_library_agrees(request):
    features, _ = clustered(np.random.default_rng(2), 900, 40, width=128)
    indices, similarities = nearest(features, 9)
    request.getfixturevalue("scipy_chosen")
    again, close = nearest(features, 9)
    np.testing.assert_allclose(similarities, close, atol=1e-6)
    assert (indices == again).mean() > 0.999


def test_thread_limits_reach_scipy(scipy_chosen, monkeypatch):
    monkeypatch.setattr(threads, "workers", lambda: 2)
    owners = {library.owner for library in libraries()}
    inside = threads.each(lambda _: threads._controller().info(), range(2))
    limited = {products._owner(one["filepath"]) for info in inside for one in info if one["num_threads"] == 1}
    assert owners - {""} <= limited


def library(owner, kernels):
    return Library(owner, "openblas", "0.3", kernels)


@pytest.mark.parametrize(
    ("mine", "theirs", "owner"),
    [
        ("Prescott", "SkylakeX", "scipy"),
        ("Prescott", "Zen", "scipy"),
        ("Haswell", "Sapphirerapids", "scipy"),
        ("SkylakeX", "Sapphirerapids", "numpy"),  # as wide: not a bit changes
        ("Zen", "Haswell", "numpy"),
        ("Haswell", "Prescott", "numpy"),
        ("", "SkylakeX", "numpy"),
        ("Prescott", "Something new", "numpy"),
    ],
)
def test_newer_kernels_are_taken(mine, theirs, owner):
    seen = (library("numpy", mine), library("scipy", theirs), library("", "SkylakeX"))
    assert compared(seen).owner == owner
    assert compared(seen[::-1]).owner == owner
    assert compared(seen[:1]).owner == compared(seen[1:]).owner == "numpy"


def test_libraries_belong_to_the_folder_they_lie_in():
    assert products._owner("/x/site-packages/numpy.libs/libopenblas64_p.so") == "numpy"
    assert products._owner("/x/site-packages/scipy.libs/libscipy_openblas.so") == "scipy"
    assert products._owner("/x/site-packages/numpy/.dylibs/libopenblas64_.dylib") == "numpy"
    assert products._owner("/usr/lib/libopenblas.so.0") == ""
    assert "numpy" in {library.owner for library in libraries()}
    assert products.chosen().owner in ("numpy", "scipy")
