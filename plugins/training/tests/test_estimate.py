"""What training takes, on paper."""

import re
from pathlib import Path

import pytest
import torch
from strands_diffusers_training import estimate
from strands_diffusers_training.estimate import EDGE, NANO

PAGE = Path(__file__).resolve().parents[3] / "docs" / "adapt.md"


def test_the_page_s_table_is_what_the_sizes_give():
    tokens = estimate.tokens_of(NANO, (48, 5, 30, 40), 16)
    assert f"({tokens:,} tokens)" in PAGE.read_text()
    rows = re.findall(
        r"^\| (one|eight) cards? .*cosmos3_(\w+) .*train.batch=(\d+).*\| (\d+) GB \| ([\d.]+) h \|$",
        PAGE.read_text(),
        re.M,
    )
    assert len(rows) == 3
    for cards, model, batch, gigabytes, hours in rows:
        size = {"edge": EDGE, "nano": NANO}[model]
        assert round(estimate.memory_gb(size, tokens, int(batch), 16, True)) == int(gigabytes)
        rate = (8 if cards == "eight" else 1) * (60 if model == "edge" else 400)
        assert 32_000 * estimate.teraflop(size, tokens, True) / rate / 3600 == pytest.approx(float(hours), abs=0.06)


def test_a_lora_has_as_many_numbers_as_peft_gives_it():
    from strands_diffusers_training.parameters import add_lora
    from tiny_cosmos3 import make_tiny_cosmos3

    for more in ({}, {"hidden_act": "relu2"}):
        pipe = make_tiny_cosmos3(hidden=128, layers=2, **more)
        pipe.transformer.to(torch.bfloat16)
        size = estimate.size_of(pipe.transformer.config, {}, full=False)
        trained = add_lora(pipe.transformer, 4, 4, 0)
        assert {p.dtype for p in trained} == {torch.float32}  # whatever the model's own precision is
        there = sum(p.numel() for name, p in pipe.transformer.named_parameters() if "lora" in name)
        assert estimate.lora_numbers(size, 4) == there
