"""VeRi-776: vehicles seen by 20 cameras (Liu et al., ICME 2016 and ECCV 2016).

image_train, image_query and image_test hold the images: 0002_c002_00030600_0.jpg is vehicle 2, camera 2. It is tested
as Market-1501 is: images of a query's own vehicle and camera are not seen.
"""

from __future__ import annotations

from duoreid.datasets.roots import Part

SPELLINGS = ("VeRi", "VeRi-776", "veri776")
PARTS = (
    Part("image_train/", "training images"),
    Part("image_query/", "query images"),
    Part("image_test/", "gallery images"),
)
EXAMPLE = "0002_c002_00030600_0.jpg"
PATTERN = r"(\d+)_c(\d{3})_\d+_\d+\b"
