"""The page of `duoreid serve`, asked by an HTTP client over a real socket, and by Chromium where there is one."""

import http.client
import io
import json
import re
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest
from PIL import Image

from duoreid.core.commands import serve
from duoreid.core.serving import web
from tests.core import coloured

waitress = pytest.importorskip("waitress")
CHROMIUM = next(
    (browser for name in ("chromium", "chromium-browser", "google-chrome") if (browser := shutil.which(name))), ""
)


@contextmanager
def served(site_of, place, threshold=0.95):
    """Serve a gallery of coloured people; yields (port, site)."""
    listener = serve._listener(0)
    port = listener.getsockname()[1]
    site = web.Site(coloured.gallery(place, threshold), port)
    server = waitress.create_server(site_of(site), sockets=[listener], threads=2, ident=None)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()

    def end():
        server.close()
        for channel in list(server.active_channels.values()):
            channel.handle_close()

    try:
        yield port, site
    finally:
        server.trigger.pull_trigger(end)  # in its own thread, whose loop looks at the sockets that this closes
        thread.join(5)
        assert not thread.is_alive()
        server.task_dispatcher.shutdown()
        site.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with served(lambda site: site, tmp_path_factory.mktemp("site")) as server:
        yield server


def ask(port, method, path, body=None, **headers):
    """Return (status, headers, content) of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def encoded(colour, seed=7, form="PNG"):
    content = io.BytesIO()
    coloured.picture(colour, seed).save(content, form)
    return content.getvalue()


def search(port, colour, **asked):
    status, _, content = ask(port, "POST", f"/search?{urlencode(asked, doseq=True)}", encoded(colour))
    assert status == 200, content
    return json.loads(content)


def test_the_right_person_stands_first_and_a_stranger_is_nobody(running):
    port, _ = running
    for name, colour in coloured.COLOURS.items():
        answer = search(port, colour)
        assert answer["nobody"] is False
        assert [hit["identity"] for hit in answer["hits"][:3]] == [name] * 3
        assert [hit["accepted"] for hit in answer["hits"][:4]] == [True] * 3 + [False]
    assert search(port, coloured.STRANGER)["nobody"] is True


def test_filters_and_length(running):
    port, _ = running
    red = coloured.COLOURS["ann"]
    assert len(search(port, red, k=2)["hits"]) == 2
    assert {hit["camera"] for hit in search(port, red, camera="2")["hits"]} == {"2"}
    assert {hit["camera"] for hit in search(port, red, not_camera="2")["hits"]} == {"1", "3"}
    assert len(search(port, red, k=100)["hits"]) == 9
    assert search(port, red, rerank=1)["hits"][0]["identity"] == "ann"
    assert search(port, red, camera="2")["threshold"]["images"] == 3


def test_no_path_of_the_disk_leaves_the_gallery(running):
    port, site = running
    paths = ["/", "/page.js", "/page.css", "/about", "/picture/0", "/picture/99", "/picture/../../etc/passwd"]
    told = [ask(port, "GET", path)[2] for path in paths]
    told += [ask(port, "POST", "/search", encoded(coloured.STRANGER))[2], ask(port, "POST", "/search", b"no image")[2]]
    names = [str(site.gallery.folder.parent), "secret-place", site._folder.name, ".png"]
    assert not [(name, content) for name in names for content in told if name.encode() in content]


def test_pictures_come_by_row(running):
    port, _ = running
    row = search(port, coloured.COLOURS["eve"])["hits"][0]["row"]
    status, headers, content = ask(port, "GET", f"/picture/{row}")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    image = Image.open(io.BytesIO(content))
    assert image.size == (128, 256)
    red, green, blue = image.resize((1, 1)).getpixel((0, 0))
    assert blue > max(red, green) + 80


def test_a_compaction_gives_pictures_other_names(tmp_path):
    """A browser keeps a picture by its name; the same row is somebody else afterwards."""
    with served(lambda site: site, tmp_path) as (port, site):
        before = {hit["row"] for hit in search(port, coloured.COLOURS["eve"])["hits"]}
        site.gallery.remove(site.gallery.files[:2])
        site.gallery.compact()
        hits = search(port, coloured.COLOURS["eve"])["hits"]
        assert not before & {hit["row"] for hit in hits}
        assert hits[0]["identity"] == "eve"
        assert ask(port, "GET", f"/picture/{hits[0]['row']}")[0] == 200
        assert [ask(port, "GET", f"/picture/{row}")[0] for row in before] == [404] * len(before)


@pytest.mark.parametrize(
    "path",
    [
        "/picture/0-9",
        "/picture/0--1",
        "/picture/",
        "/picture/0-1e3",
        "/picture/0-²",
        "/picture/1-0",
        "/picture/0",
        "/nothing",
    ],
)
def test_what_is_not_there_is_not_found(running, path):
    from urllib.parse import quote

    assert ask(running[0], "GET", quote(path))[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", "127.0.0.1.evil.example:{}", ""])
def test_another_host_is_refused(running, host):
    assert ask(running[0], "GET", "/about", Host=host.format(running[0]))[0] in (400, 421)


def test_both_names_of_this_machine_are_answered(running):
    for name in ("127.0.0.1", "localhost"):
        assert ask(running[0], "GET", "/about", Host=f"{name}:{running[0]}")[0] == 200


def test_another_sites_page_may_not_send_pictures(running):
    port, red = running[0], encoded(coloured.COLOURS["ann"])
    assert ask(port, "POST", "/search", red, Origin="http://evil.example")[0] == 403
    assert ask(port, "POST", "/search", red, Origin="null")[0] == 403
    assert ask(port, "POST", "/search", red, Origin=f"http://127.0.0.1:{port}")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/search", None, 405),
        ("POST", "/", b"x", 405),
        ("DELETE", "/about", None, 405),
        ("POST", "/search", b"", 411),
        ("POST", "/search", b"no image", 422),
        ("POST", "/search?k=0", "picture", 400),
        ("POST", "/search?k=1000", "picture", 400),
        ("POST", "/search?k=x", "picture", 400),
        ("POST", "/search?camera=9", "picture", 400),
    ],
)
def test_what_cannot_be_answered_is_told(running, method, path, body, status):
    body = encoded(coloured.STRANGER) if body == "picture" else body
    code, _, content = ask(running[0], method, path, body)
    assert code == status
    assert len(json.loads(content)["error"]) > 10


def test_a_picture_that_is_cut_off_or_enormous_is_refused(running, monkeypatch):
    port = running[0]
    whole = encoded(coloured.COLOURS["ann"])
    assert ask(port, "POST", "/search", whole[: len(whole) // 2])[0] == 422
    monkeypatch.setattr(web, "LARGEST", len(whole) - 1)
    status, _, content = ask(port, "POST", "/search", whole)
    assert status == 413
    assert b"the most that is taken" in content


def test_nothing_stays_in_the_temporary_folder(running):
    from pathlib import Path

    port, site = running
    search(port, coloured.STRANGER)
    ask(port, "POST", "/search", b"no image")
    assert not list(Path(site._folder.name).iterdir())


def test_too_many_at_once_are_refused(running):
    port, site = running
    for _ in range(web.AT_ONCE):
        assert site._room.acquire(blocking=False)
    try:
        assert ask(port, "POST", "/search", encoded(coloured.STRANGER))[0] == 429
    finally:
        for _ in range(web.AT_ONCE):
            site._room.release()
    assert search(port, coloured.STRANGER)["nobody"]


def test_guards_stand_in_every_answer_and_nothing_is_fetched_from_elsewhere(running):
    port = running[0]
    for path in ("/", "/about", "/picture/0", "/nothing"):
        headers = ask(port, "GET", path)[1]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
    for path in ("/", "/page.js", "/page.css"):
        content = ask(port, "GET", path)[2].decode()
        links = set(re.findall(r"(?:https?:)?//[\w.]+[\w/.]*", re.sub(r"^\s*//.*$", "", content, flags=re.MULTILINE)))
        assert links <= {"http://www.w3.org/2000/svg"}


def test_without_a_threshold_nobody_is_not_said(tmp_path):
    with served(lambda site: site, tmp_path, threshold=None) as (port, _):
        answer = search(port, coloured.STRANGER)
        assert (answer["nobody"], answer["threshold"]) == (None, None)
        assert {hit["accepted"] for hit in answer["hits"]} == {None}


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    def load(*words, **more):
        return coloured.model()

    empty = tmp_path / "empty"
    empty.mkdir()
    words = ["colours.onnx", "--gallery", str(empty)]
    assert serve.main(load, [*words, "--port", "0"]) == 2
    assert "holds no image" in capsys.readouterr().err
    assert serve.main(load, [*words, "--port", "99999"]) == 2
    assert "0 to 65535" in capsys.readouterr().err
    listener = serve._listener(0)
    listener.listen()
    try:
        assert serve.main(load, [*words, "--port", str(listener.getsockname()[1])]) == 2
    finally:
        listener.close()
    assert "Give another --port" in capsys.readouterr().err


DRIVER = """
fetch("/test-picture").then((answer) => answer.blob()).then((blob) => {
  const given = new DataTransfer();
  given.items.add(new File([blob], "picture.png", { type: "image/png" }));
  document.getElementById("file").files = given.files;
  document.getElementById("file").dispatchEvent(new Event("change"));
});
"""


def driven(picture):
    """Return a wrapper of a site: its page, with a script that chooses a picture as a person would."""

    def wrapped(site):
        def application(environ, start):
            if environ["PATH_INFO"] in ("/test-picture", "/test.js"):
                kind, content = (
                    ("image/png", picture)
                    if "picture" in environ["PATH_INFO"]
                    else (
                        "text/javascript",
                        DRIVER.encode(),
                    )
                )
                start("200 OK", [("Content-Type", kind), ("Content-Length", str(len(content)))])
                return [content]
            if environ["PATH_INFO"] != "/test":
                return site(environ, start)
            (page,) = site({**environ, "PATH_INFO": "/"}, lambda *_: None)
            page = page.replace(b"</body>", b'<script src="/test.js"></script></body>')
            start("200 OK", [("Content-Type", "text/html"), *web.GUARDS])
            return [page]

        return application

    return wrapped


def browsed(port, folder, *more):
    """Return what Chromium shows after the script has run."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", "--no-first-run"]
    options += ["--disable-background-networking", "--virtual-time-budget=8000", *more]
    done = subprocess.run(
        [CHROMIUM, *options, f"http://127.0.0.1:{port}/test"], capture_output=True, text=True, timeout=120, check=False
    )
    return done.stdout


@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
@pytest.mark.parametrize(
    ("colour", "kind", "verdict"),
    [(coloured.COLOURS["bob"], "yes", "Most likely bob"), (coloured.STRANGER, "no", "Nobody in this gallery")],
)
def test_in_a_browser(tmp_path, colour, kind, verdict):
    began = time.monotonic()
    with served(driven(encoded(colour)), tmp_path) as (port, _):
        shown = browsed(port, tmp_path / "browser", "--dump-dom")
    assert f'<p id="verdict" class="{kind}"><b>{verdict}</b>' in shown, (time.monotonic() - began, shown[-2000:])
    cards = re.findall(r'<li class="(\w+)">.*?</li>', shown)
    assert len(cards) == 9
    assert cards.count("yes") == (3 if kind == "yes" else 0)
    if kind == "yes":
        assert re.search(r'<div class="who">(\w+)</div>', shown)[1] == "bob"
