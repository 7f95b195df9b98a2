"""Parity of the two backends, measured: `python -m benchmarks.parity`. Exam, record, compare, report:

- exam.py makes one state and keyed batches.
- record.py writes down what one backend saw on them (halves.py: as one file), judged on the spot by the same operations
  in NumPy and float64: core/losses/float64 its layers, loss_cases.py its losses, rules.py a step. choices.py takes its
  gradients with the ReLUs of float64. Only here is a framework imported, in a process of its own.
- compare.py holds two records against each other and against the truth, training.py their training, which is held to
  what rounding does to one backend alone. comparison.py is the result: checks, each with its limit from tolerances.py,
  and curves.
- report.py and plot.py show a comparison, or the JSON of one.

Why numbers differ on one CPU: docs/parity-kernels.md, by `python -m benchmarks.kernels`.
"""
