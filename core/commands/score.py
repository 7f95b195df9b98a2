"""`python -m core.evaluate FILE`: mAP, CMC and mINP of anybody's features.

A file without a rule is tested as Market-1501 is: gallery images of a query's identity and camera are ignored. The
arrays `ignore` ("same-camera", "same-place" or "nothing") and `distinct_identities` (bool), which `--save-features`
writes, say another rule; core.data.Search explains them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from duoreid.core.commands.feature_files import ARRAYS, RULE, read
from duoreid.core.data import Dataset, Search, Split, Trial
from duoreid.core.errors import unknown
from duoreid.core.numeric.inputs import as_count, as_features, as_integers
from duoreid.core.protocols import IGNORE, rank_draw, why_no_match
from duoreid.core.ranking import Ranking

SHOWN = (1, 5, 10, 20)


def evaluate(
    arrays: dict[str, np.ndarray], *, metric: str = "cosine", max_rank: int = 50, rerank: bool = False
) -> Ranking:
    """Score the arrays that a file holds: query (Q, D), gallery (G, D), ids and cameras of both, perhaps a rule."""
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise ValueError(
            f"the file must hold the arrays {', '.join(ARRAYS)}, but lacks {', '.join(missing)} "
            f"(it has {', '.join(arrays) or 'none'})"
        )
    features = {part: as_features(arrays[part], part) for part in ("query", "gallery")}
    query, gallery = features.values()
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query and gallery must have as many columns, but have {query.shape} and {gallery.shape}; "
            "they must come from the same network"
        )
    count, joined = len(query) + len(gallery), np.concatenate([query, gallery])
    split = Split(("",) * count, _column(arrays, "ids"), _column(arrays, "cameras"), np.zeros(count, np.uint8))
    search = Search("file", (Trial(np.arange(len(query)), np.arange(len(query), count)),), *_rule(arrays))
    dataset = Dataset("the file", "", split, split, (search,))
    ranking = rank_draw(
        joined,
        dataset,
        search,
        search.trials[0],
        max_rank=as_count(max_rank, "max_rank"),
        metric=metric,
        rerank=rerank,
    )
    if len(query) and not ranking.valid_queries and search.ignore == IGNORE[0] and _by_own_camera(arrays):
        raise ValueError(f"nothing can be measured. {why_no_match(dataset, search, search.trials[0])}")
    return ranking


def _by_own_camera(arrays: dict[str, np.ndarray]) -> bool:
    """Whether some query has matches, which then are all by its own camera."""
    return bool(np.isin(arrays["query_ids"], arrays["gallery_ids"]).any())


def _column(arrays: dict[str, np.ndarray], what: str) -> np.ndarray:
    """Return ids or cameras of query and gallery end to end."""
    return np.concatenate(
        [
            as_integers(arrays[f"{part}_{what}"], f"{part}_{what}", len(arrays[part]), item)
            for part, item in (("query", "query"), ("gallery", "gallery item"))
        ]
    )


def _rule(arrays: dict[str, np.ndarray]) -> tuple[str, bool]:
    """Return (ignore, distinct_identities) of a file, Market-1501's where it says nothing."""
    ignore, distinct = arrays.get("ignore", np.array(IGNORE[0])), arrays.get("distinct_identities", np.array(False))
    if ignore.shape != () or ignore.dtype.kind != "U":
        raise ValueError(f"ignore must be one of {', '.join(IGNORE)}, but is {ignore.dtype} of shape {ignore.shape}")
    if distinct.shape != () or distinct.dtype != bool:
        raise ValueError(
            f"distinct_identities must be true or false, but is {distinct.dtype} of shape {distinct.shape}"
        )
    if str(ignore) not in IGNORE:
        raise unknown("rule in the array ignore", str(ignore), IGNORE)
    return str(ignore), bool(distinct)


def summary(ranking: Ranking) -> dict[str, Any]:
    """Return the scores as JSON types; a score that does not exist is None."""
    scores = {"mAP": ranking.mean_ap, "mINP": ranking.mean_inp}
    scores |= {f"rank-{place}": ranking.cmc[place - 1] for place in SHOWN if place <= len(ranking.cmc)}
    shown: dict[str, Any] = {name: None if np.isnan(score) else float(score) for name, score in scores.items()}
    return shown | {
        "cmc": None if not ranking.valid_queries else ranking.cmc.tolist(),
        "queries": len(ranking.average_precision),
        "valid_queries": ranking.valid_queries,
    }


def table(scores: dict[str, Any]) -> str:
    """Return the scores as two lines of columns, in per cent."""
    names = [name for name in scores if name.startswith(("m", "rank"))]
    values = ["-" if scores[name] is None else f"{100 * scores[name]:.2f}" for name in names]
    widths = [max(len(name), len(value)) for name, value in zip(names, values, strict=True)]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in (names, values)]
    return "\n".join([*lines, f"{scores['valid_queries']} of {scores['queries']} queries have a match"])


def build(prog: str = "python -m core.evaluate") -> argparse.ArgumentParser:
    """Return the parser. prog: how the command was called."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=f"Evaluate features from an .npz or .mat file that holds {', '.join(ARRAYS)}, or the same under "
        "the field's usual names, such as gallery_f, gallery_label and gallery_cam. Gallery images of a query's "
        f"identity and camera are ignored, unless the arrays {' and '.join(RULE)} say otherwise, as files of "
        "--save-features do.",
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--metric", choices=("cosine", "euclidean"), default="cosine", help="default: %(default)s")
    parser.add_argument("--max-rank", type=int, default=50, help="length of the CMC, default: %(default)s")
    parser.add_argument(
        "--rerank", action="store_true", help="k-reciprocal re-ranking: lambda 0.3, k1 20, k2 6, L2-normalised features"
    )
    parser.add_argument("--json", action="store_true", help="print JSON with the whole CMC")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "python -m core.evaluate") -> int:
    """Run the command line; return 0, or exit with 2 and a message for a file that cannot be evaluated."""
    parser = build(prog)
    options = parser.parse_args(arguments)
    if options.rerank and options.metric != "cosine":
        parser.error("--rerank compares L2-normalised features: leave out --metric")
    try:
        ranking = evaluate(read(options.file), metric=options.metric, max_rank=options.max_rank, rerank=options.rerank)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    scores = summary(ranking)
    sys.stdout.write((json.dumps(scores) if options.json else table(scores)) + "\n")
    return 0
