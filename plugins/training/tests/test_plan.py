"""What a dataset is, is known before anything is loaded; what does not fit is one line."""

import json
import shutil

import numpy as np
import pytest
from squares import dataset, episode
from strands_diffusers_training import plan as plans
from strands_diffusers_training.command import adapt
from strands_diffusers_training.config import parse
from strands_diffusers_training.plan import check, run_config

from strands_diffusers import errors

NAME = "name=my_square"


def plan_of(tmp_path, tiny, *arguments):
    config, rest = parse([*arguments, *tiny])
    return check(config, run_config(rest), tmp_path / "out")


def test_one_episode_in_ten_is_held_out_and_has_no_part_in_the_statistics(tmp_path, square, tiny):
    plan = plan_of(tmp_path, tiny, NAME, f"data={square}")
    held = [number for number, each in enumerate(plan.episodes) if each.held_out]
    assert len(held) == 1
    assert [each.task for each in plan.episodes] == ["go left", "go right", "go up"]
    assert plan.episodes[0].starts == (0, 2)
    assert plan.latent == (48, 2, 3, 4)
    training = np.concatenate([episode(n).columns["action"] for n in range(3) if n not in held])
    written = json.loads((tmp_path / "out" / "statistics" / "my_square.json").read_text())
    np.testing.assert_allclose(written["max"], training.max(0), rtol=1e-6)
    assert plan.space.statistics == str(tmp_path / "out" / "statistics" / "my_square.json")


def test_a_long_episode_is_encoded_in_parts_of_which_all_or_none_are_held_out(tmp_path, square, tiny, monkeypatch):
    monkeypatch.setattr(plans, "PART_WINDOWS", 1)
    plan = plan_of(tmp_path, tiny, NAME, f"data={square}")
    assert [each.starts for each in plan.episodes] == [(0,), (2,)] * 3
    assert len(plan.addresses(held_out=False)) == 2
    assert not set(plan.addresses(held_out=False)) & set(plan.addresses(held_out=True))
    assert plan.observation(3, 0).endswith("@start:2")


def test_the_same_command_finds_its_plan_and_another_dataset_does_not(tmp_path, square, tiny):
    first = plan_of(tmp_path, tiny, NAME, f"data={square}")
    assert plan_of(tmp_path, tiny, NAME, f"data={square}") == first
    with pytest.raises(errors.ConfigError, match="begun with another dataset"):
        plan_of(tmp_path, tiny, NAME, f"data={square}", "held_out=0.5")


def damaged(kind, tmp_path):
    """The arguments for a dataset with something wrong."""
    root = tmp_path / "set"
    if kind == "one episode":
        return [f"data={dataset(root, [episode(0)])}"]
    if kind == "no tasks":
        return [f"data={dataset(root, [episode(n, task='') for n in range(3)])}"]
    if kind == "too short":
        return [f"data={dataset(root, [episode(n, length=4) for n in range(3)])}"]
    if kind == "another width":
        return [f"data={dataset(root, [episode(n, width=3) for n in range(3)])}"]
    if kind == "NaN":
        bad = episode(1)
        address = dataset(root, [episode(0), bad, episode(2)])
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = next(root.glob("data/*/*.parquet"))
        table = pq.read_table(path)
        rows = table["action"].to_pylist()
        rows[9] = [float("nan"), 1.0]
        place = table.schema.get_field_index("action")
        pq.write_table(table.set_column(place, "action", pa.array(rows, table.schema.field("action").type)), path)
        return [f"data={address}"]
    if kind == "mixed rates":
        return [
            f"data={dataset(root, [episode(0), episode(1)])}",
            f"data={dataset(tmp_path / 'b', [episode(2)], fps=30.0)}",
        ]
    if kind == "mixed sizes":
        return [f"data={dataset(root, [episode(0)])}", f"data={dataset(tmp_path / 'b', [episode(1, size=(64, 64))])}"]
    assert kind == "missing video"
    address = dataset(root, [episode(n) for n in range(3)])
    shutil.rmtree(root / "videos")
    return [f"data={address}"]


LINES = {
    "one episode": "has one episode: one must be held out",
    "no tasks": "names no task.*task=TEXT",
    "too short": "0 of 3 episodes have 5 frames, the longest has 4",
    "another width": "gives 3 columns; domain pusht has 2",
    "NaN": "holds an empty or infinite value in row",
    "mixed rates": "runs at 30 Hz and the model would take it for 10 Hz",
    "mixed sizes": "has frames of 64x64, and .* of 64x48",
    "missing video": "camera|video",
}


@pytest.mark.parametrize("kind", LINES)
def test_a_dataset_that_cannot_be_used_is_one_line_before_anything_is_loaded(tmp_path, tiny, kind):
    with pytest.raises(errors.RequestError, match=LINES[kind]) as refused:
        plan_of(tmp_path, tiny, NAME, *damaged(kind, tmp_path))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out" / "check.json").exists()


def test_a_checkpoint_without_action_projections_is_refused(tmp_path, square):
    from tiny_cosmos3 import build_tiny_cosmos3

    folder = build_tiny_cosmos3(tmp_path / "still", layers=1, action_dim=None)
    with pytest.raises(errors.ModelError, match="action"):
        plan_of(
            tmp_path,
            ["model=custom", f"model.repo={folder}", "domain=pusht", "domain.chunk_size=4"],
            NAME,
            f"data={square}",
        )


def test_a_single_clip_is_no_dataset(tmp_path, tiny):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"not looked at")
    with pytest.raises(errors.ObservationError, match=r"'file' has no dataset of episodes\. Type lerobot:DIR"):
        plan_of(tmp_path, tiny, NAME, f"data={clip}")


def test_latents_that_do_not_fit_on_the_disk_are_refused_with_what_they_take(tmp_path, square, tiny):
    with pytest.raises(errors.ConfigError, match=r"6 windows take 0\.0 GB as latents; disk_gb=1e-06"):
        plan_of(tmp_path, tiny, NAME, f"data={square}", "disk_gb=0.000001")


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("train.step=3", "train.step is not a key of adapt. Did you mean 'train.steps'"),
        ("train.steps=three", "train.steps must be a whole number"),
        ("train.lr=nan", "train.lr must be a finite number"),
        ("train.modes=[policy,video]", "train.modes holds 'video'"),
        ("train.weights=[1]", "a number above 0 for each of 3 modes"),
        ("train.what=most", "train.what=most is not one of auto, lora, all"),
        ("until=training", "until=training is no stage.*Did you mean 'train'"),
        ("name=bridge", "name=bridge is a built-in domain"),
        ("held_out=1", "held_out must be above 0 and below 1"),
        ("condition=policy", "condition=policy is no key of adapt"),
        ("model.offload=model", "model.offload=model moves weights"),
        ("model.dtype=float16", "model.dtype=float16 is too coarse"),
        ("model.lora.repo=me/lora", "adapt trains a LoRA of its own"),
        ("bogus", "'bogus' is not KEY=VALUE"),
    ],
)
def test_a_wrong_argument_is_one_line(tmp_path, tiny, square, argument, line):
    given = [f"data={square}", argument] if argument.startswith("name=") else [f"data={square}", NAME, argument]
    with pytest.raises(errors.ConfigError, match=line):
        plan_of(tmp_path, [*given, *tiny])


def test_weights_are_not_blended_where_actions_mean_something_else(tmp_path, square, tiny):
    arguments = [f"data={square}", "name=my_square", f"out={tmp_path}", "train.blend=0.5", "until=check", *tiny]
    for _ in range(2):  # with and without a plan that is there
        with pytest.raises(errors.ConfigError, match=r"two meanings of the actions.*Leave train\.blend out"):
            adapt(arguments)
