"""The kernels of batch norm over groups, in Triton; batch_norm.py launches them. Importing this file needs triton.

Activations are matrices (rows, channels): channels last, a row for each place of each image. The rows of a group lie
one behind the other. A program (i, j) of the large kernels takes chunk i % splits of group i // splits and block j of
channels. Everything is summed in float32 and in a fixed order: a program leaves what it summed in its own place, and a
second, small kernel adds these places up. So every run gives the same bits, without atomic operations.

Integers that may be 1 are multiplied by 1.0, never converted: Triton takes a 1 for a constant, which has no type.
"""

from __future__ import annotations

import triton
import triton.language as tl

FROM_X = tl.constexpr(1)
FROM_Y = tl.constexpr(2)


@triton.jit
def moments(x, means, squares, rows, channels, stride, chunk, splits, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr):
    """Mean and sum of squared deviations of each chunk: x (groups * rows, channels) -> two (groups, splits, channels).

    Each place of a tile keeps a running mean of its own (Welford); the places are joined at the end (Chan et al.). Sums
    of squares would lose the variance of values that are far from zero.
    """
    group, split = tl.program_id(0) // splits, tl.program_id(0) % splits
    columns = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = columns < channels
    first = split * chunk
    last = tl.minimum(first + chunk, rows)
    seen = tl.zeros((BLOCK_R,), tl.float32)
    mean = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    square = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    for start in range(first, last, BLOCK_R):
        row = start + tl.arange(0, BLOCK_R)
        valid = row < last
        places = (group * rows + row)[:, None] * stride + columns[None, :]
        value = tl.load(x + places, mask=valid[:, None] & inside[None, :], other=0.0).to(tl.float32)
        seen += tl.where(valid, 1.0, 0.0)
        share = tl.where(valid, 1.0 / tl.maximum(seen, 1.0), 0.0)
        delta = value - mean
        mean += delta * share[:, None]
        square += tl.where(valid[:, None], delta * (value - mean), 0.0)
    count = (last - first) * 1.0
    total = tl.sum(mean * seen[:, None], 0) / count
    apart = mean - total[None, :]
    square += apart * apart * seen[:, None]
    place = tl.program_id(0) * channels + columns
    tl.store(means + place, total, mask=inside)
    tl.store(squares + place, tl.sum(square, 0), mask=inside)


@triton.jit
def statistics(
    means,
    squares,
    mean,
    inverse,
    running_mean,
    running_var,
    groups,
    rows,
    channels,
    chunk,
    splits,
    momentum,
    epsilon,
    BLOCK_S: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Chunks' moments -> mean and 1 / sqrt(var + epsilon) of each group (groups, channels); running statistics move.

    They move by the groups' mean of means and of unbiased variances. BLOCK_S: a power of two, `splits` at least.
    """
    columns = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = columns < channels
    split = tl.arange(0, BLOCK_S)
    there = (split < splits)[:, None] & inside[None, :]
    count = tl.where(split < splits, tl.minimum(rows - split * chunk, chunk), 0) * 1.0
    mean_sum = tl.zeros((BLOCK_C,), tl.float32)
    var_sum = tl.zeros((BLOCK_C,), tl.float32)
    for group in range(groups):
        places = (group * splits + split)[:, None] * channels + columns[None, :]
        own = tl.load(means + places, mask=there, other=0.0)
        square = tl.load(squares + places, mask=there, other=0.0)
        total = tl.sum(own * count[:, None], 0) / (rows * 1.0)
        apart = own - total[None, :]
        deviation = tl.sum(square + apart * apart * count[:, None], 0)
        place = group * channels + columns
        tl.store(mean + place, total, mask=inside)
        root = tl.sqrt_rn(deviation / (rows * 1.0) + epsilon)
        tl.store(inverse + place, tl.div_rn(tl.full((BLOCK_C,), 1.0, tl.float32), root), mask=inside)
        mean_sum += total
        var_sum += deviation / ((rows - 1) * 1.0)
    old_mean = tl.load(running_mean + columns, mask=inside, other=0.0)
    old_var = tl.load(running_var + columns, mask=inside, other=0.0)
    kept = 1.0 - momentum
    tl.store(running_mean + columns, kept * old_mean + momentum * (mean_sum / (groups * 1.0)), mask=inside)
    tl.store(running_var + columns, kept * old_var + momentum * (var_sum / (groups * 1.0)), mask=inside)


@triton.jit
def normalise(
    x,
    residual,
    y,
    mean,
    inverse,
    weight,
    bias,
    rows,
    channels,
    stride,
    residual_stride,
    chunk,
    splits,
    ADD: tl.constexpr,
    RELU: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """y = (x - mean) * inverse * weight + bias, and residual, and ReLU, rounded once: (groups * rows, channels)."""
    group, split = tl.program_id(0) // splits, tl.program_id(0) % splits
    columns = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = columns < channels
    centre = tl.load(mean + group * channels + columns, mask=inside, other=0.0)
    scale = tl.load(inverse + group * channels + columns, mask=inside, other=0.0)
    scale *= tl.load(weight + columns, mask=inside, other=0.0)
    shift = tl.load(bias + columns, mask=inside, other=0.0)
    first = split * chunk
    last = tl.minimum(first + chunk, rows)
    for start in range(first, last, BLOCK_R):
        row = start + tl.arange(0, BLOCK_R)
        there = (row < last)[:, None] & inside[None, :]
        row += group * rows
        value = tl.load(x + row[:, None] * stride + columns[None, :], mask=there, other=0.0).to(tl.float32)
        output = (value - centre[None, :]) * scale[None, :] + shift[None, :]
        if ADD:
            places = row[:, None] * residual_stride + columns[None, :]
            output += tl.load(residual + places, mask=there, other=0.0).to(tl.float32)
        if RELU:
            output = tl.where(output < 0.0, 0.0, output)  # NaN stays NaN, as in torch
        tl.store(y + row[:, None] * channels + columns[None, :], output.to(y.dtype.element_ty), mask=there)


@triton.jit
def gradient_sums(
    dy,
    x,
    y,
    kept,
    mean,
    inverse,
    weight,
    bias,
    sums,
    products,
    rows,
    channels,
    dy_stride,
    stride,
    chunk,
    splits,
    MASK: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Sums over each chunk of g and of g * xhat -> two (groups, splits, channels); g is dy where the ReLU let pass.

    MASK: 0 without ReLU; FROM_X: what passed is seen from x; FROM_Y: from y, and g, which is the residual's gradient
    too, is left in `kept`.
    """
    group, split = tl.program_id(0) // splits, tl.program_id(0) % splits
    columns = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = columns < channels
    centre = tl.load(mean + group * channels + columns, mask=inside, other=0.0)
    deviation = tl.load(inverse + group * channels + columns, mask=inside, other=0.0)
    scale = deviation * tl.load(weight + columns, mask=inside, other=0.0)
    shift = tl.load(bias + columns, mask=inside, other=0.0)
    total = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    product = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    first = split * chunk
    last = tl.minimum(first + chunk, rows)
    for start in range(first, last, BLOCK_R):
        row = start + tl.arange(0, BLOCK_R)
        there = (row < last)[:, None] & inside[None, :]
        row += group * rows
        gradient = tl.load(dy + row[:, None] * dy_stride + columns[None, :], mask=there, other=0.0).to(tl.float32)
        value = tl.load(x + row[:, None] * stride + columns[None, :], mask=there, other=0.0).to(tl.float32)
        away = value - centre[None, :]
        if MASK == FROM_X:
            gradient = tl.where(away * scale[None, :] + shift[None, :] <= 0.0, 0.0, gradient)
        if MASK == FROM_Y:
            places = row[:, None] * channels + columns[None, :]
            passed = tl.load(y + places, mask=there, other=0.0).to(tl.float32)
            gradient = tl.where(passed <= 0.0, 0.0, gradient)
            tl.store(kept + places, gradient.to(kept.dtype.element_ty), mask=there)
        total += gradient
        product += gradient * (away * deviation[None, :])
    place = tl.program_id(0) * channels + columns
    tl.store(sums + place, tl.sum(total, 0), mask=inside)
    tl.store(products + place, tl.sum(product, 0), mask=inside)


@triton.jit
def gradient_totals(
    sums,
    products,
    mean_sum,
    mean_product,
    dweight,
    dbias,
    groups,
    rows,
    channels,
    splits,
    BLOCK_S: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Chunks' sums -> the means of g and g * xhat of each group (groups, channels), and the gradients (channels)."""
    columns = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = columns < channels
    split = tl.arange(0, BLOCK_S)
    there = (split < splits)[:, None] & inside[None, :]
    of_weight = tl.zeros((BLOCK_C,), tl.float32)
    of_bias = tl.zeros((BLOCK_C,), tl.float32)
    for group in range(groups):
        places = (group * splits + split)[:, None] * channels + columns[None, :]
        total = tl.sum(tl.load(sums + places, mask=there, other=0.0), 0)
        product = tl.sum(tl.load(products + places, mask=there, other=0.0), 0)
        place = group * channels + columns
        tl.store(mean_sum + place, total / (rows * 1.0), mask=inside)
        tl.store(mean_product + place, product / (rows * 1.0), mask=inside)
        of_bias += total
        of_weight += product
    tl.store(dweight + columns, of_weight, mask=inside)
    tl.store(dbias + columns, of_bias, mask=inside)


@triton.jit
def gradient_input(
    gradients,
    x,
    dx,
    mean,
    inverse,
    weight,
    bias,
    mean_sum,
    mean_product,
    rows,
    channels,
    gradient_stride,
    stride,
    chunk,
    splits,
    MASK: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """dx = weight * inverse * (g - mean(g) - xhat * mean(g * xhat)): (groups * rows, channels).

    gradients: g; dy where MASK is FROM_X, so that the ReLU is still to be seen from x.
    """
    group, split = tl.program_id(0) // splits, tl.program_id(0) % splits
    columns = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = columns < channels
    own = group * channels + columns
    centre = tl.load(mean + own, mask=inside, other=0.0)
    deviation = tl.load(inverse + own, mask=inside, other=0.0)
    scale = deviation * tl.load(weight + columns, mask=inside, other=0.0)
    shift = tl.load(bias + columns, mask=inside, other=0.0)
    of_sum = tl.load(mean_sum + own, mask=inside, other=0.0)
    of_product = tl.load(mean_product + own, mask=inside, other=0.0)
    first = split * chunk
    last = tl.minimum(first + chunk, rows)
    for start in range(first, last, BLOCK_R):
        row = start + tl.arange(0, BLOCK_R)
        there = (row < last)[:, None] & inside[None, :]
        row += group * rows
        places = row[:, None] * gradient_stride + columns[None, :]
        gradient = tl.load(gradients + places, mask=there, other=0.0).to(tl.float32)
        value = tl.load(x + row[:, None] * stride + columns[None, :], mask=there, other=0.0).to(tl.float32)
        away = value - centre[None, :]
        if MASK == FROM_X:
            gradient = tl.where(away * scale[None, :] + shift[None, :] <= 0.0, 0.0, gradient)
        hat = away * deviation[None, :]
        input_gradient = scale[None, :] * (gradient - of_sum[None, :] - hat * of_product[None, :])
        tl.store(dx + row[:, None] * channels + columns[None, :], input_gradient.to(dx.dtype.element_ty), mask=there)
