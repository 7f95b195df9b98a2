"""`duoreid serve MODEL --gallery DIR`: a page on this machine to drop a picture on."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from duoreid.core.commands.command import guarded
from duoreid.core.commands.loading import Load, add_gallery, open_gallery, open_model, parser
from duoreid.core.commands.parsing import Parser
from duoreid.core.errors import UserError

ADDRESS = "127.0.0.1"
THREADS = 4


def build(prog: str = "duoreid serve") -> Parser:
    """Return the argument parser."""
    made = parser(
        prog,
        f"{prog} MODEL --gallery DIR [OPTIONS]",
        f"Serve a page on {ADDRESS}: drop a picture on it and see who in the gallery it is, or that it is nobody. Only "
        "this machine can reach it. Nothing is fetched from a network, and no path of the disk is shown.",
        [f"{prog} runs/mmt-torch --gallery cameras/", f"{prog} network.onnx --gallery kept/ --port 8080"],
    )
    add_gallery(made)
    made.add_argument("--port", type=int, default=8000, help="port; 0: any that is free (default: 8000)")
    return made


def main(load: Load, words: Sequence[str] | None = None, prog: str = "duoreid serve") -> int:
    """Run until it is stopped (Ctrl-C); return the exit status. load: `duoreid.load`."""
    return guarded(lambda: _serve(load, words, prog))


def _serve(load: Load, words: Sequence[str] | None, prog: str) -> None:
    given = vars(build(prog).parse_args(words))
    if not 0 <= given["port"] < 1 << 16:
        raise UserError(f"--port is a number from 0 to 65535, got {given['port']}.")
    try:
        from waitress import create_server
    except ImportError as error:
        raise UserError("serve needs waitress, which is not installed: pip install 'duoreid[serve]'.") from error

    from duoreid.core.serving.web import LARGEST, Site

    listener = _listener(given["port"])
    model = open_model(load, given)
    gallery = open_gallery(model, given, print)
    if not len(gallery):
        raise UserError(f"the gallery {gallery.folder} is empty: fill it with --add.")
    port = listener.getsockname()[1]
    site = Site(gallery, port)
    server = create_server(
        site, sockets=[listener], threads=THREADS, ident=None, max_request_body_size=LARGEST, expose_tracebacks=False
    )
    print(f"{len(gallery):,} pictures by {model!r}\nhttp://{ADDRESS}:{port}/   (Ctrl-C ends it)", flush=True)
    try:
        server.run()
    finally:
        server.close()
        site.close()


def _listener(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
    except OSError as error:
        listener.close()
        raise UserError(f"port {port} of {ADDRESS} cannot be had: {error.strerror}. Give another --port.") from error
    return listener
