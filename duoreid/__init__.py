"""DuoReID: person re-identification, the same in PyTorch (CUDA) and in MindSpore (Ascend).

    model = duoreid.load("runs/mmt-torch")
    gallery = duoreid.Gallery.open("gallery", model)
    gallery.add("cameras/")
    hits = gallery.search(model.embed(["a.jpg"]), k=10)

In a wheel everything lies inside this package (`duoreid.core`, `duoreid.backends`, ...). In a checkout those folders
lie beside it, and the line below lets them be found under the same names. What is public is imported when it is asked
for: `import duoreid` by itself imports neither a framework nor faiss nor SciPy.
"""

import importlib
from pathlib import Path

__version__ = "0.2.0"

_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "setup.cfg").is_file() and (_checkout / "core").is_dir():
    __path__.append(str(_checkout))

from duoreid.core.numeric.waiting import choose as _choose  # noqa: E402 (found by the line above)

_choose()  # here, so that it comes before any framework, whichever module is run

_PUBLIC = {
    "load": "library",
    "Model": "core.serving.model",
    "Gallery": "core.gallery.gallery",
    "Hits": "core.gallery.hits",
    "rank": "core.ranking",
    "rank_distances": "core.ranking",
    "rerank": "core.rerank",
    "nearest": "core.neighbours",
    "nearest_approximate": "core.approximate",
    "jaccard_similarity": "core.jaccard",
    "cluster": "core.clusters",
    "dbscan": "core.dbscan",
    "eps_from_share": "core.dbscan",
    "kmeans": "core.kmeans",
    "agreement": "core.agreement",
    "open_dataset": "datasets.opening",
    "generate": "datasets.synthetic",
}
"""What is public, and the module that has it."""

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> object:
    """Import what is public when it is asked for."""
    if name not in _PUBLIC:
        raise AttributeError(f"duoreid has no {name!r}. Public are {', '.join(_PUBLIC)}.")
    attribute = getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = attribute
    return attribute


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
