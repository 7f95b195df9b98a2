"""A contact sheet: people in rows, cameras in columns, the visible domains and the visible-infrared ones."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from duoreid.datasets.synthetic.cameras import HEIGHT, WIDTH
from duoreid.datasets.synthetic.domains import DOMAINS
from duoreid.datasets.synthetic.views import view

GAP, CAPTION, MARGIN = 14, 34, 10
PAPER, INK = (250, 250, 248), (30, 30, 34)
SHEETS = (("synthetic-a", "synthetic-b"), ("synthetic-sysu", "synthetic-regdb"))
SPECTRUM_NAMES = {"visible": "", "near": " infrared", "thermal": " thermal"}


def preview(
    output: str | os.PathLike[str], *, rows: int = 7, cross_modal_rows: int = 5, scale: float = 1.5, seed: int = 0
) -> Path:
    """Write a contact sheet (its suffix says the format) and return its path.

    rows, cross_modal_rows: people per domain in the visible and in the visible-infrared block. scale: of the images.
    """
    if min(rows, cross_modal_rows) < 1 or not 0 < scale <= 8:
        raise ValueError(f"a contact sheet needs rows of at least 1 and a scale in (0, 8], not {rows} and {scale}")
    blocks = [
        _block(domains, count, scale, seed) for domains, count in zip(SHEETS, (rows, cross_modal_rows), strict=True)
    ]
    width = max(block.width for block in blocks) + 2 * MARGIN
    sheet = Image.new("RGB", (width, sum(block.height + MARGIN for block in blocks) + MARGIN), PAPER)
    top = MARGIN
    for block in blocks:
        sheet.paste(block, (MARGIN, top))
        top += block.height + MARGIN
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(output)
    return output


def _block(domains: tuple[str, ...], rows: int, scale: float, seed: int) -> Image.Image:
    """Draw some domains side by side; each person is one row of one domain."""
    cell = round(WIDTH * scale), round(HEIGHT * scale)
    counts = [len(DOMAINS[name].cameras) for name in domains]
    size = sum(counts) * cell[0] + GAP * (len(domains) - 1), CAPTION + rows * cell[1]
    block = Image.new("RGB", size, PAPER)
    ink = ImageDraw.Draw(block)
    left = 0
    for name, count in zip(domains, counts, strict=True):
        ink.text((left, 0), name, INK, ImageFont.load_default(15))
        for camera in range(1, count + 1):
            label = f"cam {camera}{SPECTRUM_NAMES[DOMAINS[name].cameras[camera - 1].spectrum]}"
            ink.text((left + 2, 19), label, INK, ImageFont.load_default(11))
            for row in range(rows):
                image = view(name, seed, row + 1, camera, 0).resize(cell, Image.Resampling.BICUBIC)
                block.paste(image, (left, CAPTION + row * cell[1]))
            left += cell[0]
        left += GAP
    return block
