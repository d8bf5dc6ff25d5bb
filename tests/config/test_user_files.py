"""Config files of users: whatever is in them, one line with the file, and never a hang."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strands_diffusers.config import compose
from strands_diffusers.config.user_files import check_file
from strands_diffusers.errors import ConfigError

BOMB = "a0: &a0 [x, x]\n" + "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))
WRONG = {
    "seed: [1": "line 1",
    "seed: 1\n\tprompt: x": "line 2",
    "a: &x [*x]": "holds itself",
    BOMB: "aliases",
    "[" * 100_000: "deep",
    "a: !!python/object/apply:os.system [ls]": "tag",
    "seed: 1\n---\nseed: 2": "second document",
    "- 1": "holds a list",
    "1: 2": "is not text",
    "defaults: 3": "must be a list",
    "sampler.num_inference_steps: 3": r"is written as levels: sampler: \{num_inference_steps: \.\.\.\}",
    "defaults: [3]": "no entry",
    "seed: 2026-13-45": "month must be",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda t: t[:20])
def test_a_wrong_file_is_named_with_its_line(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=WRONG[text]) as caught:
        check_file(path)

    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_encoding_is_named(tmp_path):
    (tmp_path / "x.yaml").write_bytes("prompt: Schüssel".encode("latin-1"))

    with pytest.raises(ConfigError, match="is not UTF-8"):
        check_file(tmp_path / "x.yaml")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(st.sampled_from(list("ab:-[]{}&*!|>'\"# \n\t,0")), max_size=40))
def test_no_text_raises_anything_else(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("conf") / "x.yaml"
    path.write_text(text)
    with contextlib.suppress(ConfigError):
        check_file(path)


def test_a_users_folder_means_the_same_everywhere(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 41\n")
    search = f"hydra.searchpath=[file://{tmp_path}]"

    assert compose.compose([search, "experiment=mine"]).seed == 41
    (tmp_path / "experiment" / "mine.yaml").write_text("seed: [")
    with pytest.raises(ConfigError, match=r"mine\.yaml, line 1"):
        compose.compose([search, "seed=1"])


@pytest.mark.parametrize(
    "text",
    [
        "seed: 41\n",
        "# mine\nseed: 41\n",
        "# @package _global\nseed: 41\n",
        "",
        "defaults:\n- override /model: cosmos3_nano\n",
    ],
)
def test_an_experiment_without_its_first_line_is_told_which(tmp_path, text):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "bare.yaml").write_text(text)

    with pytest.raises(ConfigError, match="experiment=bare: its file must begin with the line `# @package _global_`"):
        compose.compose([f"hydra.searchpath=[file://{tmp_path}]", "experiment=bare"])
