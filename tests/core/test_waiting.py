"""How OpenMP's threads wait: chosen before a framework is loaded, by every entry point, unless somebody has chosen."""

import os
import subprocess
import sys

import pytest

from duoreid.core.numeric.waiting import CHOSEN, DECIDES, choose
from tests.runs import ROOT


@pytest.mark.parametrize("name", DECIDES)
def test_who_has_chosen_decides(name):
    environment = {name: "given"}
    choose(environment)
    assert environment == {name: "given"}


def test_else_it_is_chosen():
    environment = {"OMP_NUM_THREADS": "2"}
    choose(environment)
    assert environment == {"OMP_NUM_THREADS": "2", **CHOSEN}


@pytest.mark.parametrize("module", ["duoreid", "backends.torch.train", "backends.mindspore.train"])
def test_before_a_framework_is_loaded(module):
    """A framework that is found shows the environment that its libraries would read; none is really loaded."""
    code = (
        "import os, runpy, sys\n"
        "class Spy:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('torch', 'mindspore'):\n"
        "            print('loads', os.environ.get('GOMP_SPINCOUNT')); sys.stdout.flush(); os._exit(0)\n"
        "sys.meta_path.insert(0, Spy())\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    )
    words = ["train"] if module == "duoreid" else []
    environment = {name: value for name, value in os.environ.items() if name not in DECIDES}
    command = [sys.executable, "-c", code, module, *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert done.stdout == f"loads {CHOSEN['GOMP_SPINCOUNT']}\n", done.stderr
