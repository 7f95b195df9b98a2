"""The MindSpore backend.

oneDNN picks a reference convolution 50 to 100 times slower than its fast one when MindSpore runs on a CPU with
AVX-512. The limit below must stand in the environment before the first convolution, so it is set here, before
anything imports mindspore. A value set by the user wins.
"""

import os
import platform

if platform.machine() in ("x86_64", "AMD64"):
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("GLOG_v", "3")
