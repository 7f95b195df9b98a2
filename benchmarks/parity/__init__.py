"""Parity of the two backends, measured: `python -m benchmarks.parity`.

exam.py makes one state and keyed batches; record.py writes down what one backend saw on them, judged on the spot by
judge.py, the same operations in NumPy and float64; compare.py holds two records against each other and against the
truth; report.py, plot.py and table.py show it. Only record.py imports a framework, and only in a process of its own.

Training is held to what rounding does to one backend alone: trajectories.py in float32, doubles.py in float64.

Why numbers differ: bisect.py (kernels and orders of summation), switches.py (ReLUs that rounding has switched). The
gradients are compared with the switches of float64: choices.py, and held_*.py, which import a framework.
"""
