"""Where a convolution or a pooling is padded unevenly, as MindSpore's and TensorFlow's pad mode 'same' has it."""

from __future__ import annotations


def same_padding(length: int, size: int, stride: int) -> tuple[int, int]:
    """Return the padding (in front, behind) along an axis of some length: ceil(length / stride) windows fit just so.

    length: pixels of the axis. size: of the window. What cannot be shared evenly goes behind. At stride 1, and with a
    3 x 3 window of stride 2 on an odd length, it is the usual size // 2 on either side.
    Raises ValueError where one of them is not positive.

    Example:
        >>> same_padding(256, 7, 2), same_padding(128, 3, 2), same_padding(9, 3, 2)
        ((2, 3), (0, 1), (1, 1))
    """
    if min(length, size, stride) < 1:
        raise ValueError(
            f"length, size and stride must be 1 or more, but are {length}, {size} and {stride}: there is no window."
        )
    missing = max((-(-length // stride) - 1) * stride + size - length, 0)
    return missing // 2, missing - missing // 2
