"""The command `duoreid`: hands each sub-command to the room that does it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from duoreid import __version__
from duoreid.core.commands.command import finished
from duoreid.core.commands.parsing import Parser
from duoreid.core.errors import UserError, unknown

BACKENDS = ("torch", "mindspore")
"""In the order in which one is taken where none is named."""


class Command(NamedTuple):
    """A sub-command. about: one line of help. run: (words behind it, how it was called) -> exit status."""

    about: str
    run: Callable[[list[str], str], int]


def train(words: list[str], prog: str) -> int:
    """Train with the chosen backend."""
    from duoreid.core.commands.command import train as run

    entry, words = _backend(words)
    return run(entry.BACKEND, entry.open_data, words, prog)


def evaluate(words: list[str], prog: str) -> int:
    """Test the networks of a checkpoint with the chosen backend, or an exported graph with onnxruntime."""
    from duoreid.core.commands.evaluate import evaluate as run
    from duoreid.core.serving.opening import is_onnx

    if any(is_onnx(word) for word in words if not word.startswith("-")):
        from duoreid.core.commands.evaluate_onnx import main as run_graph
        from duoreid.datasets.library import open_data

        name, words = _named_backend(words)
        if name not in (None, "onnx"):
            raise UserError(f"an .onnx file is run by onnxruntime: leave --backend {name} out, or test its checkpoint.")
        return run_graph(open_data, words, prog)
    entry, words = _backend(words)
    return run(entry.BACKEND, entry.open_data, words, prog)


def export(words: list[str], prog: str) -> int:
    """Export a model with the chosen backend."""
    entry, words = _backend(words)
    return importlib.import_module(f"duoreid.backends.{entry.BACKEND.name}.export").main(words, prog)


def report(words: list[str], prog: str) -> int:
    """Write the report of a run with the chosen backend."""
    from duoreid.core.commands.report import report as run

    entry, words = _backend(words)

    def activations(learner: Any, images: Any) -> Any:
        module = importlib.import_module(f"duoreid.backends.{entry.BACKEND.name}.activations")
        return module.activations(learner, images)

    return run(entry.BACKEND, entry.open_data, activations, words, prog)


def calibrate(words: list[str], prog: str) -> int:
    """Measure a model's threshold."""
    from duoreid.core.commands.calibrate import main as run
    from duoreid.datasets.library import open_data
    from duoreid.library import load

    return run(load, open_data, words, prog)


def group(words: list[str], prog: str) -> int:
    """Group unlabelled pictures."""
    from duoreid.core.commands.group import main as run
    from duoreid.library import load

    return run(load, words, prog)


def serve(words: list[str], prog: str) -> int:
    """Serve a page that searches a gallery."""
    from duoreid.core.commands.serve import main as run
    from duoreid.library import load

    return run(load, words, prog)


def embed(words: list[str], prog: str) -> int:
    """Write the features of pictures."""
    from duoreid.core.commands.embed import main as run
    from duoreid.library import load

    return run(load, words, prog)


def search(words: list[str], prog: str) -> int:
    """Rank a gallery for each query."""
    from duoreid.core.commands.search import main as run
    from duoreid.library import load

    return run(load, words, prog)


def doctor(words: list[str], prog: str) -> int:
    """Check a copy of a dataset."""
    from duoreid.datasets.doctor import main as run

    return run(words, prog)


def score(words: list[str], prog: str) -> int:
    """Score anybody's features."""
    from duoreid.core.commands.score import main as run

    return run(words, prog)


def runs(words: list[str], prog: str) -> int:
    """List the runs in a folder."""
    from duoreid.core.commands.runs import main as run

    return run(words, prog)


def compare(words: list[str], prog: str) -> int:
    """Compare runs."""
    from duoreid.core.commands.compare import main as run

    return run(words, prog)


def machine(words: list[str], prog: str) -> int:
    """Say what this machine is for the project."""
    from duoreid.core.commands.machine import main as run

    def about(name: str) -> str:
        backend = importlib.import_module(f"duoreid.backends.{name}.entry").BACKEND
        return backend.about(backend.open_runtime(backend.runtime()))

    return run(words, prog, {name: lambda name=name: about(name) for name in _installed()})


def completion(words: list[str], prog: str) -> int:
    """Print the completion of a shell."""
    from duoreid.completion import main as run

    return run(words, prog)


COMMANDS = {
    "train": Command("train, adapt and test; without options: MMT on synthetic images", train),
    "evaluate": Command("test the networks of a checkpoint, or an .onnx file, on a dataset", evaluate),
    "report": Command("one HTML file to look at: results, curves, ranked lists, cameras, clusters", report),
    "compare": Command("compare runs: settings that differ, results with their spread over seeds, time", compare),
    "runs": Command("list runs: running, finished or where they stopped, last mAP, age", runs),
    "embed": Command("write the features of pictures, with the names of their files", embed),
    "search": Command("rank a folder of pictures by similarity to a picture", search),
    "calibrate": Command("measure from which similarity on a match is to be believed", calibrate),
    "group": Command("sort unlabelled pictures by person", group),
    "serve": Command("a page on this machine: drop a picture, see who it is", serve),
    "export": Command("write a model for use elsewhere: ONNX, torch, MindIR, safetensors, npz, ckpt", export),
    "doctor": Command("check a copy of a dataset before anyone trains on it", doctor),
    "score": Command("mAP, CMC and mINP of features in a file", score),
    "machine": Command("what is fast here: BLAS, cores, memory, device, disk; and what would be faster", machine),
    "completion": Command("print the completion of bash or zsh", completion),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `duoreid COMMAND ...`; return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    return finished(lambda: _main(words))


def _main(words: list[str]) -> int:
    parser = build()
    if not words or words[0].startswith("-"):
        parser.parse_args(words or ["--help"])
    if words[0] not in COMMANDS:
        raise unknown("command", words[0], COMMANDS)
    return COMMANDS[words[0]].run(words[1:], f"duoreid {words[0]}")


def build() -> Parser:
    """Return the parser of what stands before a sub-command."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {command.about}" for name, command in COMMANDS.items())
    parser = Parser(
        prog="duoreid",
        add_help=True,
        usage="duoreid COMMAND ...",
        description="Person re-identification, the same in PyTorch and in MindSpore.",
        epilog=f"commands:\n{listed}\n\n`duoreid COMMAND --help` shows the options of a command. train, "
        f"evaluate, export\nand report take --backend {'|'.join(BACKENDS)} (default: the first that is installed).",
    )
    parser.add_argument("--version", action="version", version=f"duoreid {__version__}")
    return parser


def _installed() -> list[str]:
    return [name for name in BACKENDS if importlib.util.find_spec(name) is not None]


def _named_backend(words: list[str]) -> tuple[str | None, list[str]]:
    """Return (what --backend names, the other words)."""
    first = Parser(prog="duoreid", add_help=False)
    first.add_argument("--backend")
    early, others = first.parse_known_args(words)
    return early.backend, others


def _backend(words: list[str]) -> tuple:
    """Return (the backend's entry module, the other words): of --backend, else the first that is installed."""
    name, others = _named_backend(words)
    if name is not None and name not in BACKENDS:
        raise unknown("backend", name, BACKENDS)
    installed = _installed()
    if name is None and not installed:
        raise UserError(
            "neither torch nor mindspore is installed: pip install 'duoreid[torch]' or 'duoreid[mindspore]'."
        )
    if name is not None and name not in installed:
        raise UserError(f"--backend {name}: it is not installed. pip install 'duoreid[{name}]', or take another one.")
    return importlib.import_module(f"duoreid.backends.{name or installed[0]}.entry"), others
