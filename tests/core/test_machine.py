import os
import subprocess
import sys
from pathlib import Path

import pytest

from duoreid.core.commands import machine
from duoreid.core.numeric.products import Choice, Library

ROOT = Path(__file__).resolve().parents[2]


def lines_of(capsys):
    return capsys.readouterr().out.splitlines()


def test_says_what_is_there(capsys):
    assert machine.main([], "duoreid machine", {"torch": lambda: "torch 2 on an NVIDIA H100"}) == 0
    lines = lines_of(capsys)
    names = [line[:16].strip() for line in lines]
    assert names[:3] == ["processor", "memory", "disk"]
    assert {"BLAS of numpy", "core's products", "torch", "advice"} <= set(names)
    assert not any("no framework sees" in line for line in lines)
    assert machine.speed() > 0.1


def test_quick_imports_no_framework(capsys):
    def fails():
        raise AssertionError("was asked")

    assert machine.main(["--quick"], "duoreid machine", {"torch": fails}) == 0
    assert not any(line.strip().startswith("torch") for line in lines_of(capsys))


def choice(kernels):
    return Choice("numpy", "", (Library("numpy", "openblas", "0.3.23", kernels), Library("", "openblas", "0", "Zen")))


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"choice": choice("Prescott")}, "Prescott are old kernels"),
        ({"environment": {"OPENBLAS_CORETYPE": "Haswell"}}, "OPENBLAS_CORETYPE=Haswell"),
        ({"environment": {"OMP_NUM_THREADS": "3"}}, "leaves 5 of 8 cores idle"),
        ({"available": 1.5}, "1.5 GB of memory"),
        ({"free": 0.2}, "0.2 GB of disk"),
        ({"devices": {"torch": "torch 2 on CPU, 8 threads"}}, "no framework sees a GPU"),
    ],
)
def test_advises_what_would_help(changed, text):
    fine = {
        "choice": choice("SkylakeX"),
        "cores": 8,
        "available": 30.0,
        "free": 100.0,
        "devices": {},
        "environment": {},
    }
    assert machine.advice(**fine) == []
    (line,) = machine.advice(**fine | changed)
    assert text in line


def test_the_help_of_the_command_loads_no_numpy():
    program = "import sys; from duoreid import cli; cli.build(); print({'numpy', 'scipy', 'torch'} & set(sys.modules))"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "set()"
