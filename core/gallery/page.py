"""Ranked pictures as one HTML file that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from duoreid.core.checkpoints.files import write_atomically
from duoreid.core.gallery.hits import Hits
from duoreid.core.serving.pictures import Picture

if TYPE_CHECKING:
    from duoreid.core.gallery.gallery import Gallery

HEIGHT = 192
"""Of a picture in the page, in pixels."""

STYLE = """
:root { color-scheme: light dark; --paper: #fafaf8; --ink: #1e1e22; --faint: #6b6b70; --card: #fff;
        --right: #00795f; --wrong: #c33b25; --line: #d8d8d4 }
@media (prefers-color-scheme: dark) { :root { --paper: #17181a; --ink: #ececea; --faint: #a0a0a4; --card: #222326;
        --right: #34c9a3; --wrong: #ff7d66; --line: #3a3b3f } }
* { box-sizing: border-box } body { margin: 0; padding: 1.5rem clamp(1rem, 4vw, 3rem); background: var(--paper);
  color: var(--ink); font: 15px/1.45 system-ui, sans-serif } h1 { font-size: 1.3rem; margin: 0 0 .2rem }
p { margin: 0 0 1rem; color: var(--faint); max-width: 70ch } section { border-top: 1px solid var(--line);
  padding: 1.2rem 0 } h2 { font-size: .95rem; margin: 0 0 .7rem; font-weight: 600; overflow-wrap: anywhere }
ol { display: flex; flex-wrap: wrap; gap: .7rem; margin: 0; padding: 0; list-style: none }
figure { margin: 0; width: 6.5rem; background: var(--card); border: 3px solid var(--line); border-radius: 6px;
  overflow: hidden } figure img { display: block; width: 100%; height: auto }
figcaption { padding: .25rem .4rem .35rem; font-size: .78rem; line-height: 1.3; overflow-wrap: anywhere }
.query figure { border-color: var(--ink) } .query { margin-right: 1rem } .right figure { border-color: var(--right) }
.wrong figure { border-color: var(--wrong) } b.right { color: var(--right) } b.wrong { color: var(--wrong) }
.refused figure img { opacity: .45 } .nobody { color: var(--wrong); font-weight: 600; margin: .6rem 0 0 }
"""


def write_page(path: Path, queries: Sequence[Picture], all_hits: Sequence[Hits], gallery: Gallery) -> None:
    """Write a page with a line for each query: its picture, then its hits, best first.

    A frame and a word say right or wrong where both identities are known; pale pictures do not reach the threshold.
    """
    pages = [_section(query, hits, gallery) for query, hits in zip(queries, all_hits, strict=True)]
    count, model = len(gallery), gallery.model
    told = (
        "Pale pictures do not reach the model's threshold."
        if model.threshold is not None
        else "The model has no threshold: the first is the nearest of this gallery, not necessarily the same person."
    )
    title = f"{len(queries)} {'query' if len(queries) == 1 else 'queries'}, {count:,} images"
    text = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{STYLE}</style>
<h1>{title}</h1>
<p>Best first, with the cosine similarity. {told} Model: {html.escape(model.description.network)} of
{html.escape(model.source)}.</p>
{"".join(pages)}
</html>
"""
    write_atomically(path, text.encode())


def _section(query: Picture, hits: Hits, gallery: Gallery) -> str:
    cells = [_figure(query.file, "query", "query", _caption(query.identity, query.camera), gallery)]
    for hit in hits.as_plain():
        marks, words = [], [f"{hit['similarity']:.3f}"]
        if query.identity is not None and hit["identity"] is not None:
            kind = "right" if hit["identity"] == query.identity else "wrong"
            marks.append(kind)
            words.append(f'<b class="{kind}">{"✓ right" if kind == "right" else "✗ wrong"}</b>')
        if hit["accepted"] is False:
            marks.append("refused")
        words.append(_caption(hit["identity"], hit["camera"]))
        if hit["file"] == query.file:
            words.append("the query itself")
        cells.append(
            _figure(hit["file"], " ".join(marks), Path(hit["file"]).name, "<br>".join(filter(None, words)), gallery)
        )
    none = hits.accepted is not None and not hits.accepted.any()
    nobody = '<div class="nobody">Nobody: no image reaches the threshold.</div>' if none else ""
    return f"<section><h2>{html.escape(Path(query.file).name)}</h2><ol>{''.join(cells)}</ol>{nobody}</section>\n"


def _caption(identity: str | None, camera: str | None) -> str:
    words = [html.escape(identity)] if identity is not None else []
    return ", ".join(words + ([f"camera {html.escape(camera)}"] if camera is not None else []))


def _figure(file: str, mark: str, name: str, caption: str, gallery: Gallery) -> str:
    label = html.escape(name, quote=True)
    try:
        shown = f'<img alt="{label}" src="{_embedded(file, gallery)}">'
    except ValueError:  # the features outlive a picture that was moved away
        shown = f"<figcaption>{label} is no longer on the disk</figcaption>"
    inner = (
        f'<figure title="{html.escape(file, quote=True)}">{shown}<figcaption>{caption or label}</figcaption></figure>'
    )
    return f'<li class="{mark}">{inner}</li>'


def _embedded(file: str, gallery: Gallery) -> str:
    """Return a picture as a data address, in the shape in which the network sees it."""
    height, width = gallery.model.size
    pixels = gallery.model.pictures.pixels(file, HEIGHT, max(1, HEIGHT * width // height), "bicubic")
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
