"""Three operations of the Wan VAE on a CPU, each in less time than PyTorch takes and with the same bits.

What they save is memory traffic, which is most of what PyTorch's versions do: the sums stay the same, in the same order.

Shapes: B batch, C channels in, O channels out, T frames, H and W pixels, t, h and w those of a kernel.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from strands_diffusers.pipelines.engine.samebits import same_bits

OVER_CHANNELS = {"p": 2.0, "dim": 1, "eps": 1e-12, "out": None}
"""How `functional.normalize` hands on its arguments for a plain norm over dimension 1."""

PLAIN = ((1, 1, 1), (0, 0, 0), (1, 1, 1), 1)
"""Stride, padding, dilation and groups of a convolution that is only that: Wan pads by hand."""

WITH_ZEROS = {"mode": "constant", "value": None}
"""How `functional.pad` hands on its arguments for plain zeros."""

BLOCK = 512 * 1024
"""Values of a block of columns: 2 MB, what a core keeps close at hand."""


class QuickKernels(TorchFunctionMode):  # type: ignore[misc]
    """Take the quick way of what the Wan VAE spends its time on. Acts inside a `with` statement, in this thread alone.

    Whatever is not float32 on a CPU, or asked in another way, is PyTorch's own.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func`, or the quick way of it where there is one for these arguments."""
        options = kwargs or {}
        x = args[0] if args else None
        if func in _QUICK and isinstance(x, Tensor) and x.device.type == "cpu" and x.dtype is torch.float32:
            if func is functional.normalize and len(args) == 1 and options == OVER_CHANNELS and not x.requires_grad:
                return _same(("norm", x.shape, x.stride()), normalize, partial(func, dim=1), x)
            if func is functional.conv3d and not options and _is_plain(*args):
                return _same(("convolution", x.shape, args[1].shape), convolve, func, *args[:3])
            if func is functional.pad and len(args) == 2 and options in ({}, WITH_ZEROS) and _is_border(x, args[1]):
                return pad(x, args[1])
        return func(*args, **options)


_QUICK = (functional.normalize, functional.conv3d, functional.pad)


def _same(
    layout: tuple[Any, ...], quick: Callable[..., Tensor], exact: Callable[..., Tensor], *tensors: Tensor
) -> Tensor:
    """`exact(*tensors)`, by way of `quick` where both gave the same bits for drawn tensors of this layout."""

    def agree() -> bool:
        noise = torch.Generator().manual_seed(0)
        drawn = [torch.empty_like(tensor).normal_(generator=noise) for tensor in tensors]
        return bool(torch.equal(quick(*drawn), exact(*drawn)))

    return same_bits(layout, partial(quick, *tensors), partial(exact, *tensors), agree)


def normalize(x: Tensor) -> Tensor:
    """`functional.normalize(x, dim=1)`: squares added channel by channel, then the IEEE root.

    PyTorch reduces over a strided dimension one value at a time; here it is a whole channel at a time.
    """
    channels = x.split(1, dim=1)
    total = channels[0] * channels[0]
    square = torch.empty_like(total)
    for channel in channels[1:]:
        total += torch.mul(channel, channel, out=square)
    norm = torch.from_numpy(np.sqrt(total.numpy()))  # torch's own vectorised root may be off by the last bit
    return x / norm.clamp_min(1e-12)


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`functional.conv3d(x, weight, bias)` as the product of the weight with the columns of `x`, some rows at a time.

    `x` is [1, C, T, H, W], `weight` [O, C, t, h, w]. PyTorch's own product of this kind (its fallback, which it takes
    for small channel counts) lays out the columns of the whole clip first, far more than a core's cache holds.
    """
    _, channels, frames, height, width = x.shape
    out_channels, _, *kernel = weight.shape
    out_frames, rows, columns = (size - k + 1 for size, k in zip((frames, height, width), kernel, strict=True))
    matrix = weight.view(out_channels, -1)
    _, *strides = x.stride()
    windows = x.as_strided((channels, *kernel, out_frames, rows, columns), (*strides, *strides[1:]))
    result = bias[:, None].repeat(1, out_frames * rows * columns)
    step = max(1, round(BLOCK / (matrix.shape[1] * columns)))
    for frame in range(out_frames):
        for first in range(0, rows, step):
            block = windows[:, :, :, :, frame, first : first + step].reshape(matrix.shape[1], -1)
            begin = (frame * rows + first) * columns
            part = result[:, begin : begin + block.shape[1]]
            torch.addmm(part, matrix, block, out=part)
    return result.view(1, out_channels, out_frames, rows, columns)


def _is_plain(x: Tensor, weight: Tensor, bias: Tensor | None = None, *options: Any) -> bool:
    """Whether a call of `conv3d` is one that `convolve` serves."""
    return (
        bias is not None
        and (not options or tuple(tuple(o) if not isinstance(o, int) else o for o in options) == PLAIN[: len(options)])
        and x.ndim == 5
        and x.shape[0] == 1
        and x.is_contiguous()
        and weight.is_contiguous()
        and not (x.requires_grad or (torch.is_grad_enabled() and weight.requires_grad))
    )


def _is_border(x: Tensor, sizes: Any) -> bool:
    """Whether `pad` serves this border: on all three axes of a clip, and nowhere negative."""
    return x.ndim == 5 and len(sizes) == 6 and min(sizes) >= 0 and not x.requires_grad


def pad(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """`functional.pad(x, sizes)` of [B, C, T, H, W] with zeros, which writes each value once and not twice."""
    left, right, top, bottom, before, after = sizes
    batch, channels, frames, height, width = x.shape
    padded = x.new_empty(batch, channels, frames + before + after, height + top + bottom, width + left + right)
    if before:
        padded[:, :, :before].zero_()
    if after:
        padded[:, :, frames + before :].zero_()
    middle = padded[:, :, before : before + frames]
    if top:
        middle[..., :top, :].zero_()
    if bottom:
        middle[..., height + top :, :].zero_()
    band = middle[..., top : top + height, :]
    if left:
        band[..., :left].zero_()
    if right:
        band[..., width + left :].zero_()
    band[..., left : left + width].copy_(x)
    return padded
