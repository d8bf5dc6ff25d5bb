"""The inside of diffusers that the engine leans on is what it was tested against. A failure here names what moved."""

import inspect

import pytest

from strands_diffusers.pipelines.engine import Call, choose, seams

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("path", seams.USED)
def test_a_private_name_is_there_with_its_parameters(path):
    found = seams.find(path)

    if seams.USED[path]:
        assert set(seams.USED[path]) <= set(inspect.signature(found).parameters)


@pytest.mark.parametrize("path", seams.MIRRORED)
def test_mirrored_code_is_what_was_mirrored(path):
    now = seams.fingerprint(seams.find(path))

    assert now == seams.MIRRORED[path], (
        f"{path} changed: read what is new, follow it, then set its fingerprint to {now}"
    )


def test_private_attributes_are_where_they_are_read(tiny):
    pipe = tiny("nano")

    assert pipe._vae_latents_mean.shape == pipe._vae_latents_inv_std.shape == (48,)
    assert pipe.sound_tokenizer._hop_size == 80
    assert len(seams.ATTRIBUTES) == 6


def test_no_private_name_of_diffusers_is_used_that_is_not_listed():
    import re
    from pathlib import Path

    listed = {path.rpartition(".")[2].rpartition(":")[2] for path in seams.USED}
    listed |= {re.search(r"\.(_\w+)", name).group(1) for name in seams.ATTRIBUTES}
    listed |= {"_modules", "_parameters", "_buffers", "_version", "_forward_hooks", "_forward_pre_hooks"}  # torch
    listed |= {"_compiled_call_impl"}
    for source in set(Path(seams.__file__).parent.glob("*.py")) - {Path(seams.__file__)}:
        used = set(re.findall(r"(?<!self)(?<!cls)\.(_[a-z]\w*)|\"(_[a-z]\w*)\"", source.read_text()))
        names = {name for pair in used for name in pair if name and not name.startswith("__")}
        assert names <= listed, source.name


def test_where_diffusers_moved_exact_refuses_and_auto_falls_back(tiny, ask, monkeypatch):
    path = f"{seams.TRANSFORMER}:Cosmos3AttnProcessor.__call__"
    monkeypatch.setitem(seams.MIRRORED, path, "another source")
    seams.changed.cache_clear()
    try:
        engine, reason = choose("auto", tiny("nano"), Call(ask("policy"), frozenset({"action"})))
    finally:
        seams.changed.cache_clear()

    assert engine.name == "eager"
    assert "changed Cosmos3AttnProcessor.__call__, which this version was not tested against" in reason


def test_a_fingerprint_is_of_the_code_and_not_of_its_comments():
    def one(x):
        """Doc."""
        # why
        return x + 1

    def same(x):
        """Other words."""

        return x + 1  # not stripped: at the end of a line

    def other(x):
        """Doc."""
        return x + 2

    source = inspect.getsource(one)
    assert "why" in source
    renamed = [seams.fingerprint(f) for f in (one, other)]
    assert renamed[0] != renamed[1]
    assert seams.fingerprint(one) == seams.fingerprint(one)
