"""`duoreid search MODEL --query IMAGE --gallery DIR`: who in a folder of pictures is the person on a picture."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from duoreid.core.commands.command import guarded
from duoreid.core.commands.embed import embedded
from duoreid.core.commands.loading import Load, add_gallery, open_gallery, open_model, parser
from duoreid.core.commands.parsing import Parser
from duoreid.core.errors import UserError
from duoreid.core.gallery.gallery import Gallery, K
from duoreid.core.gallery.hits import Hits
from duoreid.core.serving.model import Model, required_threshold
from duoreid.core.serving.pictures import Picture
from duoreid.core.training.tables import table


def build(prog: str = "duoreid search") -> Parser:
    """Return the argument parser."""
    made = parser(
        prog,
        f"{prog} MODEL --query IMAGES ... --gallery DIR [OPTIONS]",
        "Rank the pictures of a gallery by similarity to each query. The first search embeds them, later ones only "
        "what is new. With a calibrated model it also says who is accepted, and when nobody is.",
        [
            f"{prog} runs/mmt-torch --query a.jpg b.jpg --gallery cameras/ --html ranked.html",
            f"{prog} runs/mmt-torch --query a.jpg --gallery kept/ --add monday/ tuesday/ --camera c3",
        ],
    )
    made.add_argument("--query", required=True, nargs="+", metavar="IMAGES", help="images, folders or CSV files")
    add_gallery(made)
    made.add_argument("--k", type=int, metavar="N", help=f"hits of a query (default: {K}, or the whole gallery)")
    made.add_argument("--html", type=Path, metavar="FILE", help="write one self-contained page of ranked pictures")
    made.add_argument("--rerank", action="store_true", help="re-rank the first 100 by k-reciprocal encoding")
    made.add_argument("--approximate", action="store_true", help="by a faiss index, made where absent; misses some")
    made.add_argument("--only-accepted", action="store_true", help="leave out what does not reach the threshold")
    rare = [
        made.add_argument("--camera", nargs="+", metavar="NAME", help="images of these cameras only"),
        made.add_argument("--not-camera", nargs="+", metavar="NAME", help="no images of these cameras"),
        made.add_argument("--identity", nargs="+", metavar="NAME", help="images of these people only"),
        made.add_argument("--time-from", metavar="TIME", help="not before; seconds since 1970, or ISO 8601"),
        made.add_argument("--time-to", metavar="TIME", help="not after"),
        made.add_argument(
            "--exclude-own-camera", action="store_true", help="no images of the query's own camera, from --pattern"
        ),
    ]
    for action in rare[2:]:
        action.everyday = False
    return made


def main(load: Load, words: Sequence[str] | None = None, prog: str = "duoreid search") -> int:
    """Run the command line; return the exit status. load: `duoreid.load`."""
    return guarded(lambda: _search(load, words, prog))


def _search(load: Load, words: Sequence[str] | None, prog: str) -> None:
    given = vars(build(prog).parse_args(words))
    if given["html"] and given["html"].suffix not in (".html", ".htm"):
        raise UserError(f"--html {given['html']} must end in .html.")
    model = open_model(load, given)
    if given["only_accepted"]:
        required_threshold(model)
    listing = model.pictures.listed(given["query"], given["pattern"])
    if listing.told:
        print(listing.told, file=sys.stderr)
    queries = list(listing.pictures)
    gallery = open_gallery(model, given, lambda line: print(line, file=sys.stderr))
    kept, features, broken = embedded(model, queries, given["batch"])
    for file, why in broken:
        print(f"the query {file} cannot be decoded and is left out: {why}", file=sys.stderr)
    if given["approximate"] and (gallery.index is None or gallery.index.stale):
        print(f"the approximate index is built: {gallery.build_index()}", file=sys.stderr)
    names = ("rerank", "only_accepted", "camera", "not_camera", "identity", "approximate")
    all_hits = gallery.search(
        features,
        given["k"],
        **{name: given[name] for name in names},
        time_from=_time(model, given["time_from"]),
        time_to=_time(model, given["time_to"]),
        exclude_own_camera=[query.camera for query in kept] if given["exclude_own_camera"] else None,
    )
    if given["html"]:
        from duoreid.core.gallery.page import write_page

        write_page(given["html"], kept, all_hits, gallery)
    print(_json(kept, all_hits, gallery, broken) if given["json"] else _text(kept, all_hits, gallery))
    if given["html"] and not given["json"]:
        print(f"\n{given['html']}: the ranked pictures")


def _time(model: Model, text: str | None) -> float | None:
    return None if text is None else model.pictures.moment(text)


def nobody(hits: Hits) -> bool | None:
    """Return whether no hit is accepted; None where the model has no threshold."""
    return None if hits.accepted is None else not hits.accepted.any()


def _json(
    queries: Sequence[Picture], all_hits: Sequence[Hits], gallery: Gallery, broken: Sequence[tuple[str, str]]
) -> str:
    results = [
        {**_known(query), "nobody": nobody(hits), "hits": hits.as_plain()}
        for query, hits in zip(queries, all_hits, strict=True)
    ]
    facts: dict[str, Any] = {"gallery": str(gallery.folder), "images": len(gallery), "model": gallery.model.describe()}
    left_out = [{"file": file, "why": why} for file, why in broken]
    return json.dumps({**facts, "results": results, "broken": left_out}, indent=2)


def _known(query: Picture) -> dict[str, Any]:
    return {"query": query.file, "identity": query.identity, "camera": query.camera}


def _text(queries: Sequence[Picture], all_hits: Sequence[Hits], gallery: Gallery) -> str:
    lines = [f"{len(gallery)} images in {_short(str(gallery.folder))}"]
    for query, hits in zip(queries, all_hits, strict=True):
        lines += ["", _short(query.file), table(_columns(hits), _rows(query, hits))]
        if nobody(hits):
            lines.append("nobody: no image reaches the threshold")
    if gallery.model.threshold is None:
        lines += [
            "",
            "The model has no threshold: `duoreid calibrate MODEL` measures from where on it is the same person.",
        ]
    return "\n".join(lines)


def _short(file: str) -> str:
    """Return a path as one would type it: from the folder one is in, where it lies below that."""
    below = os.path.relpath(file)
    return file if below.startswith(os.pardir) else below


def _columns(hits: Hits) -> list[str]:
    known = [name for name, values in (("identity", hits.identities), ("camera", hits.cameras)) if any(values)]
    return ["", "similarity", *(["accepted"] if hits.accepted is not None else []), *known, "file"]


def _rows(query: Picture, hits: Hits) -> list[list[str]]:
    columns, rows = _columns(hits), []
    for place, hit in enumerate(hits.as_plain()):
        itself = " (the query itself)" if hit["file"] == query.file else ""
        cells = {
            "": str(place + 1),
            "similarity": f"{hit['similarity']:.4f}",
            "accepted": "yes" if hit["accepted"] else "no",
            "identity": hit["identity"] or "",
            "camera": hit["camera"] or "",
            "file": f"{_short(hit['file'])}{itself}",
        }
        rows.append([cells[name] for name in columns])
    return rows
