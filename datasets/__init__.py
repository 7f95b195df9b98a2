"""Readers of real datasets in their own layouts, the synthetic benchmark, and the cache of decoded images.

`open_dataset(name, root)` reads the index of any dataset in NAMES; `datasets.cache.load_images` its images.
"""

from duoreid.datasets.opening import NAMES, open_dataset

__all__ = ["NAMES", "open_dataset"]
