"""Whole runs, by the name that a method's entry gives (core/methods/registry.py).

A pipeline is a function (run, open_dataset) -> summary, which is also written to summary.json.
"""

from duoreid.core.training.pipelines import cross_modal, transfer

PIPELINES = {"transfer": transfer.run, "cross-modal": cross_modal.run}
