"""A small training set of MVD, of people some of whom were seen in one modality alone, and a small recipe."""

import numpy as np

from duoreid.core.data import INFRARED, VISIBLE, Split, TrainingSet
from duoreid.core.settings.cross_modal import CrossModalDataConfig, MVDConfig, MVDRecipe

SEEN = [(5, VISIBLE, 4), (5, INFRARED, 3), (9, VISIBLE, 2), (2, INFRARED, 2), (2, VISIBLE, 5), (7, VISIBLE, 3)]
SEEN += [(7, INFRARED, 2), (-1, VISIBLE, 2), (4, INFRARED, 1), (11, VISIBLE, 2), (11, INFRARED, 2)]


class Pixels:
    """Images whose every byte is their row."""

    def __init__(self, count):
        self.shape = (count, 32, 16, 3)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        return np.broadcast_to(rows.astype(np.uint8)[:, None, None, None], (len(rows), *self.shape[1:])).copy()


def training_set(seen=SEEN):
    """Return a training set. seen: identity, modality and number of images, in this order."""
    identities = np.repeat([s[0] for s in seen], [s[2] for s in seen]).astype(np.int32)
    modalities = np.repeat([s[1] for s in seen], [s[2] for s in seen]).astype(np.uint8)
    files = tuple(f"{row}.jpg" for row in range(len(identities)))
    split = Split(files, identities, modalities.astype(np.int32) + 1, modalities)
    return TrainingSet("people", Pixels(len(identities)), split)


def config(**changes):
    """Return a recipe of four small batches; changes: of the settings of MVD."""
    plain = {"identities": 3, "images": 2, "iterations": 4, "padding": 0, "flip": 0.0, "representation": 8}
    return MVDRecipe(data=CrossModalDataConfig(height=32, width=16), mvd=MVDConfig(**(plain | changes)))
