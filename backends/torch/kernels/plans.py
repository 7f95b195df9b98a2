"""How the kernels of batch norm share out rows and channels."""

from __future__ import annotations

from typing import NamedTuple

TILE, COLUMNS, WARPS = 2048, 64, 4
"""Numbers that a program holds at a time, channels of them at most, and warps that share them."""
PROGRAMS, SPLITS = 2048, 512
"""Programs of a kernel that are aimed at, and chunks of a group at most. An H100 holds some 900 programs at a time."""


class Plan(NamedTuple):
    """How the rows and channels of each group are shared among programs; it depends on sizes alone."""

    groups: int
    rows: int
    channels: int
    block_rows: int
    block_columns: int
    chunk: int
    splits: int

    @property
    def grid(self) -> tuple[int, int]:
        """Programs of the kernels that read the activations."""
        return self.groups * self.splits, _parts(self.channels, self.block_columns)

    @property
    def sizes(self) -> dict[str, int]:
        """Arguments of every kernel."""
        return {"rows": self.rows, "channels": self.channels, "splits": self.splits}

    @property
    def blocks(self) -> dict[str, int]:
        """Arguments of the kernels that read the activations."""
        blocks = {"BLOCK_R": self.block_rows, "BLOCK_C": self.block_columns}
        return {"chunk": self.chunk, **blocks, "num_warps": WARPS}

    @property
    def joint(self) -> dict[str, int]:
        """Arguments of the kernels that add up what the chunks left."""
        most = _power(self.splits)
        return {"BLOCK_S": most, "BLOCK_C": max(1, min(COLUMNS, TILE // most)), "num_warps": WARPS}

    @property
    def joint_grid(self) -> tuple[int]:
        """Their programs."""
        return (_parts(self.channels, self.joint["BLOCK_C"]),)


def plan(rows: int, channels: int, groups: int) -> Plan:
    """Return how `groups` groups of `rows` rows each are shared out."""
    columns = max(16, min(COLUMNS, _power(channels)))
    lines = max(1, TILE // columns)
    tiles = _parts(rows, lines)
    wanted = max(1, PROGRAMS // (groups * _parts(channels, columns)))
    chunk = lines * _parts(tiles, min(tiles, wanted, SPLITS))
    return Plan(groups, rows, channels, lines, columns, chunk, _parts(rows, chunk))


def _parts(whole: int, part: int) -> int:
    return -(-whole // part)


def _power(number: int) -> int:
    """Return the smallest power of two that is not below a number."""
    return 1 << (number - 1).bit_length()
