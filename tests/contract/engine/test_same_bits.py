"""Quicker code on a CPU is used only where it was seen to give the same bits."""

import pytest
import torch
from torch.nn import functional

from strands_diffusers.pipelines.engine import kernels, samebits
from strands_diffusers.pipelines.engine.kernels import QuickKernels, convolve, normalize
from strands_diffusers.pipelines.engine.samebits import same_bits, warm_pages

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("channels", [1, 3, 16, 48, 160])
@pytest.mark.parametrize("kind", ["plain", "permuted", "image"])
def test_a_norm_over_channels_has_the_bits_of_pytorch(channels, kind):
    x = torch.randn(1, channels, 3, 19, 23) * 10
    if kind == "permuted":
        x = torch.randn(1, 3, channels, 19, 23).permute(0, 2, 1, 3, 4)
    if kind == "image":
        x = x[0].transpose(0, 1).contiguous()

    with QuickKernels():
        first, second = functional.normalize(x, dim=1), functional.normalize(x, dim=1)

    expected = functional.normalize(x, dim=1)
    assert torch.equal(first, expected)
    assert torch.equal(second, expected)


def test_zeros_stay_zeros():
    assert torch.equal(normalize(torch.zeros(1, 4, 2, 3, 3)), torch.zeros(1, 4, 2, 3, 3))


@pytest.mark.parametrize("options", [{"dim": -1}, {"dim": 1, "p": 1.0}, {"dim": 1, "eps": 0.1}])
def test_any_other_norm_is_left_to_pytorch(options):
    x = torch.randn(2, 5, 7)
    with QuickKernels():
        found = functional.normalize(x, **options)

    assert torch.equal(found, functional.normalize(x, **options))


@pytest.mark.parametrize(
    ("shape", "kernel"),
    [
        ((1, 16, 3, 34, 66), (16, 3, 3, 3)),
        ((1, 32, 4, 18, 22), (32, 3, 3, 3)),
        ((1, 16, 6, 34, 42), (3, 3, 3, 3)),
        ((1, 16, 4, 8, 10), (16, 1, 1, 1)),
        ((1, 8, 3, 40, 48), (16, 3, 1, 1)),
        ((1, 3, 3, 66, 82), (16, 3, 3, 3)),
    ],
)
def test_a_convolution_has_the_bits_of_pytorch(shape, kernel):
    x, bias = torch.randn(shape), torch.randn(kernel[0])
    weight = torch.randn(kernel[0], shape[1], *kernel[1:])
    expected = functional.conv3d(x, weight, bias)

    with torch.no_grad(), QuickKernels():
        first, second = (functional.conv3d(x, weight, bias, (1, 1, 1), (0, 0, 0), (1, 1, 1), 1) for _ in range(2))

    assert torch.equal(first, expected)
    assert torch.equal(second, expected)
    torch.testing.assert_close(convolve(x, weight, bias), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frames", [3, 6])
def test_a_black_clip_proves_nothing(frames, monkeypatch):
    """Zeros agree whatever the order of the sums: taken as a proof, they let other bits through for the next clip."""
    monkeypatch.setattr(samebits, "_proven", {})
    x, weight, bias = torch.randn(1, 16, frames, 258, 322), torch.randn(16, 16, 3, 3, 3), torch.randn(16)

    with torch.no_grad(), QuickKernels():
        functional.conv3d(torch.zeros_like(x), weight, bias)
        functional.normalize(torch.zeros_like(x), dim=1)
        convolved, normalized = functional.conv3d(x, weight, bias), functional.normalize(x, dim=1)

    assert torch.equal(convolved, functional.conv3d(x, weight, bias))
    assert torch.equal(normalized, functional.normalize(x, dim=1))


def test_the_quick_convolution_is_the_one_that_runs():
    """PyTorch takes its fallback for a clip of this size; if it ever stops, the quick way is dead weight: take it out."""
    x, weight, bias = torch.randn(1, 16, 3, 130, 162), torch.randn(16, 16, 3, 3, 3), torch.randn(16)

    with torch.no_grad(), QuickKernels():
        functional.conv3d(x, weight, bias)

    threads = (torch.get_num_threads(), torch.get_float32_matmul_precision())
    proven = samebits._proven.get((("convolution", x.shape, weight.shape), *threads))
    assert proven or torch.get_num_threads() > 1


@pytest.mark.parametrize(
    "options", [{"stride": 2}, {"padding": 1}, {"dilation": 2}, {"groups": 2}], ids=lambda o: next(iter(o))
)
def test_any_other_convolution_is_left_to_pytorch(options, monkeypatch):
    monkeypatch.setattr(kernels, "convolve", None)
    x, weight, bias = torch.randn(1, 4, 6, 9, 9), torch.randn(4, 4 // options.get("groups", 1), 3, 3, 3), torch.randn(4)

    with torch.no_grad(), QuickKernels():
        found = functional.conv3d(x, weight, bias, **options)

    assert torch.equal(found, functional.conv3d(x, weight, bias, **options))


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 2, 0), (0, 1, 0, 1, 0, 0), (2, 0, 0, 3, 0, 1), (0, 0, 0, 0, 0, 0)])
def test_padding_is_that_of_pytorch(sizes, monkeypatch):
    taken, quick = [], kernels.pad
    monkeypatch.setattr(kernels, "pad", lambda *args: taken.append(args) or quick(*args))
    x = torch.randn(1, 3, 2, 5, 4).transpose(3, 4)

    with QuickKernels():
        found = functional.pad(x, sizes)

    assert torch.equal(found, functional.pad(x, sizes))
    assert taken


def test_a_quick_way_with_other_bits_is_never_taken():
    taken = []
    exact = torch.ones(3)

    def quick():
        taken.append(1)
        return torch.tensor([1.0, 1.0, 1.0 + 2**-23])

    results = [same_bits("a test's own layout", quick, lambda: exact) for _ in range(3)]

    assert all(result is exact for result in results)
    assert len(taken) == 1


def test_a_quick_way_with_the_same_bits_is_taken_from_the_second_time_on():
    slow = []

    def exact():
        slow.append(1)
        return torch.ones(3)

    for _ in range(3):
        assert torch.equal(same_bits("another layout", lambda: torch.ones(3), exact), torch.ones(3))

    assert len(slow) == 1


def test_the_allocator_is_set_back_when_the_last_run_ends():
    with warm_pages("cpu"):
        with warm_pages("cpu"):
            torch.zeros(2**22)
        assert samebits._users in (0, 1)  # 0 where the C library is not glibc
    with pytest.raises(RuntimeError, match="inside"), warm_pages("cpu"):
        raise RuntimeError("inside")

    assert samebits._users == 0
