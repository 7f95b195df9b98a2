"""The soak of commands tells what is wrong after a kill, and the other records of reliability count right."""

import json
import random

import pytest

from duoreid.benchmarks import endurance, soak, soak_commands
from duoreid.core.errors import UserError

WRITES = "import sys, time; from pathlib import Path; folder = Path(sys.argv[1])\n"
WHOLE = WRITES + "(folder / 'a').write_text('1'); time.sleep(0.2); (folder / 'b').write_text('2')"
ONE_MORE = WRITES + "(folder / str(len(list(folder.iterdir())))).touch(); time.sleep(0.2)"


@pytest.mark.parametrize(("code", "wrong"), [(WHOLE, ""), (ONE_MORE, "other files, or other bytes: 1")])
def test_what_kills_leave_is_told(tmp_path, code, wrong):
    kept = []
    report = soak_commands.soak("x", lambda folder: ["-c", code, folder], 2, tmp_path, random.Random(0), kept.append)
    assert wrong in report.wrong
    assert bool(wrong) == bool(report.wrong)
    if not wrong:
        assert [row.kills for row in kept] == [1, 2]
        assert report.begun  # the second kill waits for the first file


def test_a_process_that_is_left_is_told(tmp_path):
    with soak_commands.start(["-c", "import time; time.sleep(60)"], "of-a-test") as process:
        assert soak_commands.left_running("of-a-test", patience=0.1) == 1
        process.kill()
    assert soak_commands.left_running("of-a-test") == 0


def test_results_are_kept_by_kind_backend_and_seed(tmp_path):
    file = tmp_path / "soak.json"
    for what, seed, kills in (("b", 0, 1), ("a", 0, 2), ("b", 0, 3), ("b", 1, 4)):
        soak.record(file, what, "torch", {"kills": kills, "seed": seed})
    rows = json.loads(file.read_text())["rows"]
    assert [(row["what"], row["seed"], row["kills"]) for row in rows] == [("a", 0, 2), ("b", 0, 3), ("b", 1, 4)]
    assert rows[0]["cores"] > 0


def test_the_slope_of_memory_is_that_of_the_second_half():
    assert endurance.slope([(0, 0), (10, 500), (20, 520), (30, 540), (40, 560)]) == pytest.approx(2)
    with pytest.raises(UserError, match="take more"):
        endurance.slope([(0, 0), (10, 5)])
