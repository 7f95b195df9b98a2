"""A procedural person benchmark: it ships no image and needs no download.

`generate(name, root)` writes JPEGs in the layouts of the real datasets, deterministically from a seed. The modules
`identities` (who), `body`, `head`, `clothes` and `shapes` (what is drawn), `scenes` and `cameras` (where), `views` (one
image), `layouts` (which files) and `writer` (to disk) are its parts.
"""

from __future__ import annotations

from duoreid.datasets.synthetic.layouts import LAYOUTS
from duoreid.datasets.synthetic.writer import generate

NAMES = tuple(LAYOUTS)

__all__ = ["NAMES", "generate"]
