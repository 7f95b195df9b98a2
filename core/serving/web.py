"""The page of `duoreid serve`: a WSGI application that searches one gallery.

What it answers with holds no path of the disk: thumbnails are asked for by row. It answers only requests that name this
machine as their host, so that another site's page cannot reach it by a name of its own (DNS rebinding), and takes a
picture only from its own page. A picture that is handed over is written into a temporary folder, read with the guards
of all other images, and removed.
"""

from __future__ import annotations

import io
import json
import secrets
import tempfile
from collections.abc import Callable, Iterable
from functools import lru_cache
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import numpy as np

from duoreid.core.errors import UserError
from duoreid.core.gallery.filters import Filters
from duoreid.core.gallery.gallery import Gallery
from duoreid.core.gallery.hits import Hits

LARGEST = 20 << 20
"""Bytes of a picture that is handed over."""

AT_ONCE = 8
"""Pictures that may be waiting; a further one is refused."""

MOST = 100
"""Hits of one search."""

FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
THUMBNAIL = "/picture/"
TALL = 256

GUARDS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)

Environ = dict[str, Any]
Start = Callable[[str, list[tuple[str, str]]], Any]


class Answer(NamedTuple):
    """A response."""

    status: HTTPStatus
    kind: str
    content: bytes
    keep: bool = False


class RefusedError(Exception):
    """A request that is not answered, and what its sender is told."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Site:
    """The application. port: the one that it is reached by."""

    def __init__(self, gallery: Gallery, port: int) -> None:
        self.gallery = gallery
        self.hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        self._room = BoundedSemaphore(AT_ONCE)
        self._folder = tempfile.TemporaryDirectory(prefix="duoreid-serve-")
        self._thumbnail = lru_cache(maxsize=512)(self._made_thumbnail)

    def close(self) -> None:
        """Remove the temporary folder."""
        self._folder.cleanup()

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        try:
            answer = self._answer(environ)
        except RefusedError as refused:
            answer = _json({"error": refused.text}, refused.status)
        except UserError as error:
            answer = _json({"error": str(error).replace(self._folder.name, "")}, HTTPStatus.BAD_REQUEST)
        length = ("Content-Length", str(len(answer.content)))
        keep = ("Cache-Control", "private, max-age=600" if answer.keep else "no-store")
        start(f"{answer.status.value} {answer.status.phrase}", [("Content-Type", answer.kind), length, keep, *GUARDS])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else answer.content]

    def _answer(self, environ: Environ) -> Answer:
        if environ.get("HTTP_HOST") not in self.hosts:
            raise RefusedError(HTTPStatus.MISDIRECTED_REQUEST, f"this page is {' or '.join(sorted(self.hosts))}")
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "/")
        if path == "/search":
            _require_method(method, ("POST",))
            return self._search(environ)
        _require_method(method, ("GET", "HEAD"))
        if path in FILES:
            name, kind = FILES[path]
            content = resources.files("duoreid.core.serving").joinpath("site", name).read_bytes()
            return Answer(HTTPStatus.OK, f"{kind}; charset=utf-8", content)
        if path == "/about":
            return _json(self.about())
        if path.startswith(THUMBNAIL):
            return self._picture(path.removeprefix(THUMBNAIL))
        raise RefusedError(HTTPStatus.NOT_FOUND, "there is nothing here")

    def about(self) -> dict[str, Any]:
        """Return what the page says of the model and the gallery."""
        model, view = self.gallery.model, self.gallery.view
        height, width = model.size
        return {
            "images": view.count,
            "cameras": sorted(view.cameras, key=_natural),
            "identities": len(view.identities),
            "network": f"{model.description.network}, {model.description.arch}, {height} x {width}",
            "shape": [height, width],
            "threshold": self._threshold(view.count),
            "largest": LARGEST,
            "files": AT_ONCE,
        }

    def _threshold(self, size: int) -> dict[str, Any] | None:
        threshold = self.gallery.model.threshold
        if threshold is None:
            return None
        return {"value": threshold.at(size), "far": threshold.far, "dataset": threshold.dataset, "images": size}

    def _search(self, environ: Environ) -> Answer:
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and origin.removeprefix("http://") not in self.hosts:
            raise RefusedError(HTTPStatus.FORBIDDEN, "a picture is taken from this page only, not from another site's")
        asked = {name: values for name, values in parse_qs(environ.get("QUERY_STRING", "")).items() if values}
        length = _length(environ)
        if not self._room.acquire(blocking=False):
            raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, f"{AT_ONCE} pictures are waiting: try again in a moment")
        try:
            features = self._embedded(environ["wsgi.input"].read(length), length)
            return _json(self._found(features, asked))
        finally:
            self._room.release()

    def _embedded(self, content: bytes, length: int) -> np.ndarray:
        if len(content) != length:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the picture did not arrive whole")
        file = Path(self._folder.name, f"{secrets.token_hex(8)}.picture")
        try:
            file.write_bytes(content)
            return self.gallery.model.embed([file], progress=False)
        except UserError as error:
            why = str(error).split(f"{file}: ")[-1]
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, f"this picture cannot be read: {why}") from error
        finally:
            file.unlink(missing_ok=True)

    def _found(self, features: np.ndarray, asked: dict[str, list[str]]) -> dict[str, Any]:
        view = self.gallery.view
        k = min(_number(asked, "k", 20), view.count, MOST)
        (hits,) = self.gallery.search(
            features,
            k,
            camera=asked.get("camera"),
            not_camera=asked.get("not_camera"),
            rerank="rerank" in asked,
        )
        generation = view.commit.generation  # a compaction gives the rows other numbers: browsers keep pictures by name
        rows = [f"{generation}-{view.find(file)}" for file in hits.files]
        nobody = None if hits.accepted is None else not bool(hits.accepted.any())
        mask = Filters(asked.get("camera"), asked.get("not_camera")).mask(view)
        size = view.count if mask is None else int(np.count_nonzero(mask))
        return {"nobody": nobody, "threshold": self._threshold(size), "hits": _plain(hits, rows)}

    def _picture(self, text: str) -> Answer:
        view = self.gallery.view
        generation, _, number = text.partition("-")
        row = int(number) if number.isdecimal() and len(number) < 12 else -1
        current = generation == str(view.commit.generation)
        if not current or not 0 <= row < len(view.records) or not view.alive[row]:
            raise RefusedError(HTTPStatus.NOT_FOUND, "the gallery has no such picture")
        try:
            return Answer(HTTPStatus.OK, "image/jpeg", self._thumbnail(view.file(row)), keep=True)
        except (ValueError, OSError) as error:
            text = "the picture has vanished from the disk, or has changed"
            raise RefusedError(HTTPStatus.NOT_FOUND, text) from error

    def _made_thumbnail(self, file: str) -> bytes:
        from PIL import Image

        model = self.gallery.model
        height, width = model.size
        pixels = model.pictures.pixels(Path(file), TALL, max(1, round(TALL * width / height)), "bicubic")
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "JPEG", quality=88)
        return content.getvalue()


def _plain(hits: Hits, rows: list[str]) -> list[dict[str, Any]]:
    """Return hits without their files."""
    plain = []
    for row, hit in zip(rows, hits.as_plain(), strict=True):
        del hit["file"]
        plain.append({**hit, "row": row})
    return plain


def _length(environ: Environ) -> int:
    text = environ.get("CONTENT_LENGTH") or ""
    if not text.isdecimal() or not int(text):
        raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "a picture is expected, as the body of the request")
    if int(text) > LARGEST:
        raise RefusedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"this picture has more than {LARGEST >> 20} MB, the most that is taken",
        )
    return int(text)


def _number(asked: dict[str, list[str]], name: str, default: int) -> int:
    text = asked.get(name, [str(default)])[0]
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"{name} is a number from 1 to {MOST}, got {text[:20]!r}")
    return int(text)


def _require_method(method: str, allowed: tuple[str, ...]) -> None:
    if method not in allowed:
        raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, f"{' or '.join(allowed)} expected, got {method[:20]}")


def _json(content: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Answer:
    return Answer(status, "application/json; charset=utf-8", json.dumps(content).encode())


def _natural(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)
