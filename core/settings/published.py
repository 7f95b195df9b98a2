"""Published results, mAP and rank-1 in percent on the target's test set, to stand beside what is measured.

MMT: Ge, Chen, Li, ICLR 2020, table 1 (k-means). Keys: (source, target), architecture, number of clusters; 0 is the
network of stage 1 before adaptation.

MVD: Tian et al., CVPR 2021, and the table of its public MindSpore code, whose numbers are of one draw of the gallery
(SYSU-MM01) and of trial 1 (RegDB).
"""

from __future__ import annotations

from duoreid.core.data import name_of
from duoreid.core.settings.config import Config
from duoreid.core.settings.transfer import AdaptConfig

_PAIR = ("resnet50", "resnet50_ibn_a")


def _rows(table: dict[int, tuple[tuple[float, float], tuple[float, float]]]) -> dict:
    return {(arch, k): row[index] for k, row in table.items() for index, arch in enumerate(_PAIR)}


MMT = {
    ("market1501", "dukemtmc"): _rows(
        {
            0: ((29.6, 46.0), (35.4, 54.0)),
            500: ((63.1, 76.8), (65.7, 79.3)),
            700: ((65.1, 78.0), (68.7, 81.8)),
            900: ((63.1, 77.4), (67.3, 80.8)),
        }
    ),
    ("dukemtmc", "market1501"): _rows(
        {
            0: ((31.8, 61.9), (35.6, 65.3)),
            500: ((71.2, 87.7), (76.5, 90.9)),
            700: ((69.0, 86.8), (74.5, 91.1)),
            900: ((66.2, 86.8), (72.7, 91.2)),
        }
    ),
    ("market1501", "msmt17"): _rows(
        {
            0: ((7.1, 19.4), (9.5, 25.3)),
            500: ((16.6, 37.5), (19.6, 43.3)),
            1000: ((21.6, 46.1), (26.3, 52.5)),
            1500: ((22.9, 49.2), (26.6, 54.4)),
            2000: ((20.8, 45.7), (25.1, 52.7)),
        }
    ),
    ("dukemtmc", "msmt17"): _rows(
        {
            0: ((9.4, 27.0), (11.9, 32.6)),
            500: ((17.9, 41.3), (23.3, 50.0)),
            1000: ((23.5, 50.0), (29.7, 58.8)),
            1500: ((23.3, 50.1), (29.3, 58.2)),
            2000: ((22.4, 49.0), (28.1, 56.8)),
        }
    ),
}

MMT_ABLATION = {
    "source only": (-30.3, -25.3),
    "without hard CE and hard triplet": (-41.2, -41.3),
    "without hard CE": (-38.2, -37.3),
    "without hard triplet": (-0.1, 0.1),
    "without soft CE": (-5.4, -3.6),
    "without soft triplet": (-4.0, -2.2),
}
"""Row of table 2 -> change in (mAP, rank-1) against the full method: Market-1501 to DukeMTMC-reID, K = 500, IBN."""

_REFERENCE, _PORT_GPU, _PORT_ASCEND = "PyTorch", "MindSpore port, GPU", "MindSpore port, Ascend 910"

MVD = {
    "sysu": {
        "all, single-shot": {_REFERENCE: (58.80, 60.02), _PORT_GPU: (57.55, 60.08), _PORT_ASCEND: (57.57, 58.64)},
        "indoor, single-shot": {_REFERENCE: (72.98, 66.05), _PORT_GPU: (73.13, 69.57)},
    },
    "regdb": {
        "visible to thermal": {_REFERENCE: (71.6, 73.2), _PORT_GPU: (72.35, 77.91), _PORT_ASCEND: (72.44, 77.28)},
        "thermal to visible": {_REFERENCE: (70.1, 71.8), _PORT_GPU: (71.37, 76.50), _PORT_ASCEND: (70.37, 76.07)},
    },
}
"""Dataset, search, code -> (mAP, rank-1) in percent."""


def of_transfer(config: Config, dataset: str, search: str, adapted: bool) -> dict[str, tuple[float, float]]:
    """Return (mAP, rank-1) in percent that the paper reports for these settings, {} where it has no such row.

    adapted: of the networks after stage 2; with the settings of another stage 2 than MMT's with k-means there is none.
    """
    stage = getattr(config, "adapt", None)
    if adapted and (not isinstance(stage, AdaptConfig) or stage.clustering != "kmeans"):
        return {}
    rows = MMT.get((name_of(config.data.source), name_of(dataset)), {})
    row = rows.get((config.network.arch, stage.clusters if adapted else 0))
    return {"the paper": row} if row else {}


def of_cross_modal(config: Config, dataset: str, search: str, adapted: bool) -> dict[str, tuple[float, float]]:
    """Return (mAP, rank-1) in percent of MVD on one search of a dataset, by the code that reached it."""
    return MVD.get(dataset, {}).get(search, {})
