"""The examples in the docstrings of the public algorithms: each has one, and each prints what it says."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

MODULES = (
    "agreement",
    "approximate",
    "dbscan",
    "grouping",
    "jaccard",
    "kmeans",
    "mining",
    "neighbours",
    "openset",
    "protocols",
    "random",
    "ranking",
    "rerank",
    "searches",
    "threshold",
)
INNER = {
    "approximate": {"search_approximate", "search_by_size"},  # `nearest_approximate` without its checks
    # stages of jaccard_similarity and rerank
    "jaccard": {"encoding_of", "farthest", "set_similarities", "similarity_of", "upper_similarity"},
    "mining": {"same_identity"},  # what the miners check first
    "neighbours": {"search"},  # `nearest` without its checks
    "protocols": {"groups", "labels"},  # how a search pairs queries with its gallery
}
"""Functions without an example, which other modules of core call: their public form has one."""


def module_of(name):
    return importlib.import_module(f"duoreid.core.{name}")


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_has_an_example(name):
    tree = ast.parse(Path(module_of(name).__file__).read_text())
    public = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    lacking = {node.name for node in public if ">>> " not in (ast.get_docstring(node) or "")}
    assert not lacking - INNER.get(name, set())


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name):
    result = doctest.testmod(module_of(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert not result.failed


def test_an_example_that_says_something_else_fails():
    def wrong():
        """
        >>> module_of("random").network_seed(1, 0)
        2
        """

    (example,) = doctest.DocTestFinder().find(wrong, globs={"module_of": module_of})
    assert doctest.DocTestRunner(verbose=False).run(example, out=lambda text: None).failed == 1
