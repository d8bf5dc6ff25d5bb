"""What a recording holds is what the rollout was; Rerun's own tools can read it; nothing is sent anywhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import strands_diffusers_rerun
from strands_diffusers_rerun import RerunSerializer

from strands_diffusers import ActionSpace, Mesh, Observation, Rollout, actions, read_clip, testing
from strands_diffusers.errors import ConfigError, OutputError


@pytest.fixture
def rerun(tmp_path):
    """Rerun's command line, in a home of its own where its telemetry is switched off."""
    home = tmp_path / "home"
    home.mkdir()

    def run(*arguments):
        command = [str(Path(sys.executable).with_name("rerun")), *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "HOME": str(home)}, check=False
        )

    assert run("analytics", "disable").returncode == 0
    return run


def a_rollout(domain="bridge", steps=16, **fields) -> Rollout:
    rng = np.random.default_rng(0)
    space = actions.space_of(domain, pixel_map=domain == "pusht")
    still = actions.still_row(space)
    width = 2 if still is None else len(still)
    action = rng.normal(0, 0.2, (1, steps, width)) + (0 if still is None else np.nan_to_num(still))
    video = rng.integers(0, 255, (steps + 1, 32, 48, 3), dtype=np.uint8)
    values = {
        "mode": "policy", "prompt": "Open the drawer.", "seed": 3, "video": video, "fps": 5.0, "space": space,
        "action": action.astype(np.float32), "observation": Observation(source="drawer.mp4"),
    }  # fmt: skip
    return Rollout(**(values | fields))


def read(path):
    """The recording's columns: `{entity: {column: values}}`, static ones as a single value."""
    from rerun.chunk import RrdReader

    found: dict[str, dict] = {}
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if not name.startswith("rerun."):
                found.setdefault(chunk.entity_path[1:], {})[name.split(":")[-1]] = column.to_pylist()
    return found


def save(rollout, folder, **config):
    [artifact] = RerunSerializer(RerunSerializer.Config(**config)).save(rollout, folder)
    return artifact


def test_it_keeps_the_rules_of_a_plugin():
    testing.check_plugin(strands_diffusers_rerun)


def test_rerun_verifies_what_was_written(tmp_path, rerun):
    path = save(a_rollout(reference_video=a_rollout().video, reference_action=a_rollout().action), tmp_path).path

    verified = rerun("rrd", "verify", path)

    assert verified.returncode == 0, verified.stderr
    assert "1 file verified without error" in verified.stdout + verified.stderr
    assert path.name == "rollout.rrd"


def test_every_column_is_a_curve_by_name_in_model_space_and_decoded(tmp_path):
    rollout = a_rollout()

    found = read(save(rollout, tmp_path).path)

    physical = actions.to_physical(rollout.action[0], rollout.space)
    for index, name in enumerate(("x", "y", "z", "r11", "r21", "r31", "r12", "r22", "r32", "gripper")):
        curve = found[f"action/arm/{name}"]
        np.testing.assert_array_equal(np.float32([v for [v] in curve["scalars"]]), rollout.action[0, :, index])
        assert curve["frame"] == list(range(16))
        np.testing.assert_allclose([v for [v] in found[f"physical/arm/{name}"]["scalars"]], physical[:, index])
    assert found["physical/arm/x"]["names"] == [["x [m]"]]
    assert [stamp.total_seconds() for stamp in curve["time"]] == pytest.approx([t / 5 for t in range(16)])


def test_the_path_is_the_integrated_one(tmp_path):
    rollout = a_rollout(reference_action=a_rollout().action[:, ::-1].copy())

    found = read(save(rollout, tmp_path).path)

    path_F44 = actions.paths(rollout.action, rollout.space)["arm"]
    np.testing.assert_allclose(found["path/arm/line"]["strips"][0][0], path_F44[:, :3, 3], atol=1e-6)
    body = found["path/arm/body"]
    np.testing.assert_allclose([t[0] for t in body["translation"]], path_F44[:, :3, 3], atol=1e-6)
    columns_first = path_F44[:, :3, :3].transpose(0, 2, 1).reshape(-1, 9)  # Rerun keeps matrices column by column
    np.testing.assert_allclose([m[0] for m in body["mat3x3"]], columns_first, atol=1e-6)
    observed = actions.paths(rollout.reference_action, rollout.space)["arm"]
    np.testing.assert_allclose(found["path/arm/reference"]["strips"][0][0], observed[:, :3, 3], atol=1e-6)


def test_the_videos_inside_are_the_rollout_s_frames(tmp_path):
    smooth = np.kron(a_rollout().video[:, ::8, ::8], np.ones((1, 8, 8, 1), np.uint8))
    found = read(save(a_rollout(video=smooth, reference_video=smooth[::-1].copy()), tmp_path).path)

    for entity, frames_FHWC in (("rollout/video", smooth), ("reference/video", smooth[::-1])):
        clip = tmp_path / "clip.mp4"
        clip.write_bytes(bytes(found[entity]["blob"][0][0]))
        shown = read_clip(clip).frames_FHWC
        assert shown.shape == frames_FHWC.shape
        assert np.abs(shown.astype(int) - frames_FHWC).mean() < 5
        assert [t[0] for t in found[entity]["timestamp"]] == [round(i * 1e9 / 5) for i in range(17)]


def test_pusht_targets_lie_over_the_video(tmp_path):
    rollout = a_rollout("pusht")

    found = read(save(rollout, tmp_path).path)

    scale = np.array([48, 32]) / 512  # the video is 48 x 32 here
    np.testing.assert_allclose(
        found["rollout/video/targets"]["strips"][0][0], (rollout.action[0] + 1) * 256 * scale, rtol=1e-5
    )
    assert found["physical/target/target_x"]["names"] == [["target_x [px]"]]
    assert not [entity for entity in found if entity.startswith("path/")]


def test_a_domain_without_statistics_stays_in_model_space(tmp_path):
    rng = np.random.default_rng(0)
    rollout = a_rollout(space=ActionSpace("av"), action=rng.normal(size=(2, 8, 9)).astype(np.float32))

    found = read(save(rollout, tmp_path).path)

    assert len(found["action/ego/x"]["scalars"]) == 16  # two chunks, one after the other
    assert not [entity for entity in found if entity.startswith(("physical/", "path/"))]


def test_given_actions_of_forward_dynamics_are_drawn(tmp_path):
    rollout = a_rollout(mode="forward_dynamics", action=None, given_action=a_rollout().action)

    assert len(read(save(rollout, tmp_path).path)["action/arm/x"]["scalars"]) == 16


def test_sound_pictures_and_a_mesh_are_kept_too(tmp_path, rerun):
    sound = np.sin(np.arange(4800, dtype=np.float32) / 20)[:, None].repeat(2, 1)
    mesh = Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32))
    picture = a_rollout().video[:2]
    rollout = Rollout("text", prompt="A bell.", image=picture, sound=sound, sampling_rate=48_000, mesh=mesh, fps=24.0)

    path = save(rollout, tmp_path).path
    found = read(path)

    assert bytes(found["sound"]["blob"][0][0])[:4] == b"RIFF"
    assert bytes(found["image/01"]["buffer"][0][0]) == picture[1].tobytes()
    assert len(found["mesh"]["vertex_positions"][0]) == 3
    assert "# A bell." in found["about"]["text"][0][0]
    assert rerun("rrd", "verify", path).returncode == 0


@pytest.mark.parametrize(
    ("rollout", "message"),
    [
        (Rollout("policy"), "nothing to record"),
        (a_rollout(action=np.full((1, 16, 10), np.nan, np.float32)), "NaN or inf; no recording was written"),
    ],
)
def test_what_cannot_be_recorded_is_refused_and_leaves_nothing(rollout, message, tmp_path):
    with pytest.raises(OutputError, match=message):
        save(rollout, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_artifact_lists_what_is_inside(tmp_path):
    details = save(a_rollout(), tmp_path).details

    assert {"about", "rollout/video", "action/arm/gripper", "path/arm/line"} <= set(details["entities"])
    json.dumps(details)


def test_its_choice_is_a_typed_hydra_option():
    config = testing.compose("output=[video,rerun]", "output.rerun.crf=20")

    assert config.output["rerun"].crf == 20
    with pytest.raises(ConfigError, match=r"output\.rerun\.crf must be 1 to 51, got 0"):
        testing.compose("output=[rerun]", "output.rerun.crf=0")


def test_loading_the_plugin_does_not_load_rerun():
    program = "import sys, strands_diffusers_rerun; sys.exit('rerun' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_writing_a_recording_leaves_no_telemetry_behind(tmp_path):
    """Rerun's viewer and command line count their use; the library that writes here does not."""
    program = (
        "import numpy as np, pathlib, sys; from strands_diffusers import Rollout; "
        "from strands_diffusers_rerun import RerunSerializer; "
        "RerunSerializer().save(Rollout('text', image=np.zeros((1, 8, 8, 3), np.uint8)), pathlib.Path(sys.argv[1]))"
    )
    (tmp_path / "home").mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("XDG_")} | {"HOME": str(tmp_path / "home")}

    subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=environment, check=True)

    assert (tmp_path / "rollout.rrd").stat().st_size > 500
    assert not [path for path in (tmp_path / "home").rglob("*") if "rerun" in path.name.lower()]
