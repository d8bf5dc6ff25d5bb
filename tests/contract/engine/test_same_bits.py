"""Quicker code on a CPU is used only where it was seen to give the same bits."""

import pytest
import torch
from torch.nn import functional

from strands_diffusers.pipelines.engine import samebits
from strands_diffusers.pipelines.engine.samebits import QuickNormalize, normalize, same_bits, warm_pages

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("channels", [1, 3, 16, 48, 160])
@pytest.mark.parametrize("kind", ["plain", "permuted", "image"])
def test_a_norm_over_channels_has_the_bits_of_pytorch(channels, kind):
    x = torch.randn(1, channels, 3, 19, 23) * 10
    if kind == "permuted":
        x = torch.randn(1, 3, channels, 19, 23).permute(0, 2, 1, 3, 4)
    if kind == "image":
        x = x[0].transpose(0, 1).contiguous()

    with QuickNormalize():
        first, second = functional.normalize(x, dim=1), functional.normalize(x, dim=1)

    expected = functional.normalize(x, dim=1)
    assert torch.equal(first, expected)
    assert torch.equal(second, expected)


def test_zeros_stay_zeros():
    assert torch.equal(normalize(torch.zeros(1, 4, 2, 3, 3)), torch.zeros(1, 4, 2, 3, 3))


@pytest.mark.parametrize("options", [{"dim": -1}, {"dim": 1, "p": 1.0}, {"dim": 1, "eps": 0.1}])
def test_any_other_norm_is_left_to_pytorch(options):
    x = torch.randn(2, 5, 7)
    with QuickNormalize():
        found = functional.normalize(x, **options)

    assert torch.equal(found, functional.normalize(x, **options))


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
