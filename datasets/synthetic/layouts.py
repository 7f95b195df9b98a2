"""The sets by name, each with its layout and its sizes."""

from __future__ import annotations

from duoreid.datasets.synthetic.cross_modal import REGDB_SIZES, SYSU_SIZES, regdb, sysu
from duoreid.datasets.synthetic.market_layout import MARKET_SIZES, market
from duoreid.datasets.synthetic.plans import Plan

LAYOUTS = {
    "synthetic-a": (market, MARKET_SIZES),
    "synthetic-b": (market, MARKET_SIZES),
    "synthetic-sysu": (sysu, SYSU_SIZES),
    "synthetic-regdb": (regdb, REGDB_SIZES),
}


def plan(name: str, size: str, seed: int) -> Plan:
    """Return the plan of a set. Raise ValueError naming the known names and sizes."""
    if name not in LAYOUTS:
        raise ValueError(f"unknown synthetic set {name!r}: expected one of {', '.join(LAYOUTS)}")
    make, sizes = LAYOUTS[name]
    if size not in sizes:
        raise ValueError(f"unknown size {size!r} of {name}: expected one of {', '.join(sizes)}")
    return make(name, sizes[size], seed)
