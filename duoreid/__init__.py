"""DuoReID: person re-identification, the same in PyTorch (CUDA) and in MindSpore (Ascend).

In a wheel everything lies inside this package (`duoreid.core`, `duoreid.backends`, ...). In a checkout those folders
lie beside it, and the line below lets them be found under the same names.
"""

from pathlib import Path

__version__ = "0.2.0"

_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "setup.cfg").is_file() and (_checkout / "core").is_dir():
    __path__.append(str(_checkout))

from duoreid.core.numeric.waiting import choose as _choose  # noqa: E402 (found by the line above)

_choose()  # here, so that it comes before any framework, whichever module is run
