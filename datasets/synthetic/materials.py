"""Materials and colours. A material is float32 (5,): linear red, green, blue, near-infrared reflectance, heat.

Infrared shows no hue, and of how dark a dye is only a part: some dyes that look dark are transparent to near
infrared, and dark cloth is warmer in the sun, but what cloth it is matters as much. A black and a white shirt may look
alike to an infrared camera, which is what makes matching across the spectrum hard. What both spectra share whole is
where one material ends and another begins: cuts, skin, bags, hair, and most patterns.
"""

from __future__ import annotations

import numpy as np

COLOURS: dict[str, tuple[int, int, int]] = {
    # sRGB, 0-255
    "white": (236, 236, 232),
    "cream": (226, 214, 184),
    "light grey": (184, 186, 190),
    "grey": (128, 130, 134),
    "charcoal": (66, 68, 74),
    "black": (30, 30, 34),
    "navy": (34, 42, 84),
    "blue": (44, 84, 184),
    "sky": (124, 178, 228),
    "turquoise": (54, 176, 178),
    "green": (48, 146, 74),
    "lime": (158, 204, 72),
    "olive": (98, 98, 58),
    "forest": (34, 66, 48),
    "yellow": (240, 208, 66),
    "orange": (234, 128, 46),
    "red": (206, 44, 50),
    "burgundy": (100, 32, 46),
    "pink": (238, 150, 182),
    "magenta": (196, 52, 138),
    "lilac": (172, 146, 208),
    "purple": (94, 58, 136),
    "beige": (204, 182, 148),
    "camel": (172, 128, 84),
    "brown": (100, 68, 48),
    "dark brown": (62, 44, 36),
    "denim": (76, 104, 150),
    "light denim": (136, 164, 200),
    "dark denim": (44, 56, 88),
    "khaki": (158, 146, 106),
    "slate": (80, 94, 110),
    "teal": (34, 92, 100),
}
PRINT = (0.12, 0.28)
"""Least and largest difference of a print from its cloth, in near-infrared reflectance and in heat."""

DYE, SUN = 0.4, 0.2
"""Share of a dye's lightness in the near-infrared reflectance of its cloth; how much hotter than white black gets.

The cloth itself makes the rest of both.
"""

SKIN = ((244, 208, 182), (230, 184, 150), (204, 150, 112), (160, 108, 76), (104, 68, 50))
HAIR = ((28, 24, 24), (62, 42, 32), (112, 76, 48), (206, 168, 104), (150, 146, 142), (134, 62, 36))


def linear(colour: tuple[float, float, float] | np.ndarray) -> np.ndarray:
    """sRGB 0-255 -> linear light in [0, 1], float32, by the usual power of 2.2."""
    return (np.clip(np.asarray(colour, np.float32), 0, 255) / 255) ** np.float32(2.2)


def material(colour: tuple[float, float, float] | np.ndarray, near: float, heat: float) -> np.ndarray:
    """Return float32 (5,) of an sRGB colour (0-255), a near-infrared reflectance and a heat, both in [0, 1]."""
    return np.concatenate([linear(colour), np.array([near, heat], np.float32)])


def cloth(generator: np.random.Generator, name: str, warmth: float) -> np.ndarray:
    """Return a cloth of the named colour, a little off it as dyes are.

    warmth: how well the cloth insulates, 0 to 1; a warm coat shows cold on its outside.
    """
    colour = np.asarray(COLOURS[name], np.float32)
    colour = colour * generator.uniform(0.9, 1.1) + generator.uniform(-7, 7, 3)
    light = float(np.clip(colour.mean() / 255, 0, 1))
    near = (1 - DYE) * generator.uniform(0.15, 0.85) + DYE * light
    heat = 0.72 - 0.34 * warmth + generator.uniform(-0.08, 0.08) + SUN * (0.5 - light)
    return material(colour, near, heat)


def second_cloth(generator: np.random.Generator, name: str, first: np.ndarray) -> np.ndarray:
    """Return the second colour of a pattern: mostly a print on the first cloth, sometimes a cloth of its own.

    A print reflects and radiates otherwise than what it is printed on, mostly as its darkness makes one expect; two
    cloths may look alike in infrared.
    """
    second = cloth(generator, name, 0.5)
    if generator.random() < 0.65:
        shift = generator.uniform(-1, 1, 2)
        lighter = 1.0 if second[:3].mean() > first[:3].mean() else -1.0
        expected = np.array([lighter, -lighter]) * np.where(shift > -0.5, 1, -1)
        contrast = expected * (PRINT[0] + (PRINT[1] - PRINT[0]) * np.abs(shift))
        second[3:] = np.clip(first[3:] + contrast, 0.02, 1)
    else:
        second[4] = first[4] + generator.uniform(-0.12, 0.12)
    return second


def skin(generator: np.random.Generator) -> np.ndarray:
    """Return one of the tones of skin; infrared sees them nearly alike, and warm."""
    tone = SKIN[generator.choice(len(SKIN), p=(0.2, 0.3, 0.22, 0.16, 0.12))]
    return material(tone, generator.uniform(0.55, 0.68), generator.uniform(0.92, 1.0))


def hair(generator: np.random.Generator) -> np.ndarray:
    """Return one of the colours of hair."""
    colour = HAIR[generator.choice(len(HAIR), p=(0.36, 0.24, 0.16, 0.12, 0.06, 0.06))]
    return material(colour, generator.uniform(0.25, 0.45), generator.uniform(0.55, 0.68))
