"""`strands-diffusers stats`: from files of actions to a domain that a run can use at once."""

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml

from strands_diffusers import ActionSpace, actions
from strands_diffusers.cli.stats import stats
from strands_diffusers.config import compose
from strands_diffusers.errors import (
    ActionError,
    ConfigError,
    DomainError,
    MissingPackageError,
    ObservationError,
    OutputError,
)
from strands_diffusers.observations.files import FileSource
from strands_diffusers.observations.resolve import read_action_rows

SPACE = actions.space_of("bridge")


@pytest.fixture
def arm(tmp_path):
    """A folder of physical Bridge actions in all three kinds of file, and their rows."""
    rng = np.random.default_rng(0)
    rows_ND = []
    folder = tmp_path / "actions" / "day_1"
    folder.mkdir(parents=True)
    for number in range(6):
        model = actions.still_row(SPACE) + rng.normal(0, 0.3, (40, 10))
        model[:, 9] = rng.choice([-1, 1], 40)
        physical = actions.to_physical(model, SPACE)
        physical[:, 3:9] = actions.matrix_to_rot6d(actions.rot6d_to_matrix(physical[:, 3:9]))
        physical = physical.astype(np.float32)
        rows_ND.append(physical)
        if number % 3 == 0:
            (folder / f"{number}.json").write_text(json.dumps(physical.reshape(2, 20, 10).tolist()))
        elif number % 3 == 1:
            np.save(folder / f"{number}.npy", physical)
        else:
            np.savez(folder / f"{number}.npz", action=physical)
    return tmp_path / "actions", np.concatenate(rows_ND)


def test_a_folder_of_files_becomes_a_domain_that_composes(arm, tmp_path, capsys):
    folder, rows_ND = arm
    out = tmp_path / "configs"

    assert stats([str(folder), "--domain", "bridge", "--name", "my_robot", "--out", str(out)]) == 0

    said = capsys.readouterr().out
    assert "240 rows in domain bridge; quantiles exact" in said
    assert f"--config-dir {out} domain=my_robot" in said
    override = [
        f"hydra.searchpath=[file://{out}]",
        "domain=my_robot",
        "model=cosmos3_nano",
        "observation=x.mp4",
        "prompt=a",
    ]
    domain = compose.compose(override).domain
    assert (domain.name, domain.fps, domain.view_point.value) == ("bridge_orig_lerobot", 5, "ego_view")
    found = actions.load_statistics(domain.statistics, domain.name)
    np.testing.assert_allclose(found.q99, np.quantile(rows_ND.astype(float), 0.99, axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, rows_ND.astype(float).std(0), rtol=1e-9)
    own = ActionSpace(domain.name, domain.statistics)
    inside_D = (np.abs(actions.to_model(rows_ND, own)) <= 1 + 1e-9).mean(0)
    assert (inside_D >= 0.97).all()  # as many of 240 as lie between q01 and q99


def test_the_command_line_takes_it_from_there(arm, tmp_path):
    folder, _ = arm
    run = [sys.executable, "-m", "strands_diffusers"]
    made = subprocess.run(
        [*run, "stats", str(folder), "--domain", "bridge", "--fps", "20"], cwd=tmp_path, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr

    shown = subprocess.run(
        [*run, "--config-dir", "my_configs", "domain=my_bridge", "model=cosmos3_nano", "--cfg", "job", "-p", "domain"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip

    assert "fps: 20" in shown.stdout
    assert f"statistics: {tmp_path}/my_configs/statistics/my_bridge.json" in shown.stdout


def test_several_files_count_as_one_dataset(arm, tmp_path, capsys):
    folder, _ = arm
    files = sorted(str(path) for path in folder.rglob("*.np?"))

    stats([*files, "--domain", "bridge", "--out", str(tmp_path / "c")])

    assert "160 rows" in capsys.readouterr().out


def test_a_column_that_spans_nothing_is_pointed_out(tmp_path, capsys):
    still = (
        np.tile(np.float32([0.1, 0, 0, 1, 0, 0, 0, 1, 0, 1]), (8, 1))
        + np.float32([1e-3, 0, 0] + [0] * 7) * np.arange(8)[:, None]
    )
    np.save(tmp_path / "a.npy", still.astype(np.float32))

    stats([str(tmp_path / "a.npy"), "--domain", "bridge", "--out", str(tmp_path)])

    assert "q01 = q99 in y, z, r11, r21, r31, r12, r22, r32, gripper" in capsys.readouterr().out


def test_model_space_and_foreign_widths_are_refused_by_file(arm, tmp_path, data):
    folder, rows_ND = arm
    np.save(folder / "z_model.npy", actions.to_model(rows_ND[:20], SPACE).astype(np.float32))

    with pytest.raises(ActionError, match=r"z_model\.npy: the rotation columns are off .* look like model space"):
        stats([str(folder), "--domain", "bridge", "--out", str(tmp_path)])
    with pytest.raises(ActionError, match=r"umi\.json: .* look like model space"):  # NVIDIA's file is normalised
        stats([str(data / "nvidia_cosmos/umi.json"), "--domain", "umi", "--out", str(tmp_path)])
    np.save(tmp_path / "seven.npy", np.zeros((9, 7), np.float32))
    with pytest.raises(ActionError, match=r"7 columns; domain 'bridge' needs 10.*convert the angles to rot6d"):
        stats([str(tmp_path / "seven.npy"), "--domain", "bridge", "--out", str(tmp_path)])
    assert not (tmp_path / "domain").exists()


def test_real_umi_actions_in_metres_give_back_numbers_of_their_own_kind(data, tmp_path):
    space = actions.space_of("umi")
    model = np.float32(json.loads((data / "nvidia_cosmos/umi.json").read_text()))
    np.save(tmp_path / "umi.npy", actions.to_physical(model, space).astype(np.float32))

    stats([str(tmp_path / "umi.npy"), "--domain", "umi", "--out", str(tmp_path)])

    own = actions.load_statistics(str(tmp_path / "statistics/my_umi.json"), "umi")
    theirs = actions.load_statistics("umi_lerobot", "umi")
    span = theirs.q99 - theirs.q01
    assert ((own.q01 > theirs.q01 - 0.35 * span) & (own.q99 < theirs.q99 + 0.35 * span)).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["nowhere", "--domain", "bridge"], ObservationError, "nowhere does not exist"),
        ([".", "--domain", "brigde"], DomainError, r"no domain 'brigde'\. Did you mean 'bridge'"),
        ([".", "--domain", "libero"], ConfigError, "has no action width"),
        (
            [".", "--domain", "bridge", "--name", "fractal"],
            ConfigError,
            "is a built-in domain, which the preset would hide",
        ),
        ([".", "--domain", "bridge", "--name", "My Robot"], ConfigError, r"--name My Robot must be of a-z"),
        ([".", "--domain", "bridge"], ObservationError, "holds no action files"),
        (["x", "--domain", "bridge", "--fps", "nan"], ConfigError, "--fps nan is not a rate above 0 Hz"),
        (["x", "--domain", "bridge", "--fps", "-5"], ConfigError, "--fps -5 is not a rate above 0 Hz"),
        (["x", "--domain", "bridge", "--fps", "inf"], ConfigError, "--fps inf is not a rate"),
        (["sample:push_left", "--domain", "pusht"], ObservationError, "source 'sample' has no dataset of actions"),
    ],
)
def test_bad_requests_say_what_to_do(arguments, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(error, match=message):
        stats(arguments)
    assert not list(tmp_path.iterdir())


def test_an_earlier_preset_is_kept_unless_forced(arm, tmp_path):
    folder, _ = arm
    arguments = [str(folder), "--domain", "bridge", "--out", str(tmp_path)]
    stats(arguments)

    with pytest.raises(ConfigError, match=r"my_bridge\.yaml exists\. Type --force"):
        stats(arguments)
    assert stats([*arguments, "--force"]) == 0


def test_a_folder_that_cannot_be_written_is_named_in_one_line(arm, tmp_path):
    (tmp_path / "taken").write_text("a file")

    with pytest.raises(OutputError, match=r"cannot write to .*taken/statistics: Not a directory\. Choose another"):
        stats([str(arm[0]), "--domain", "bridge", "--out", str(tmp_path / "taken")])


def test_a_name_of_two_lines_stays_a_comment(arm, tmp_path):
    folder = arm[0].rename(tmp_path / "a\nfps: 99")

    stats([str(folder), "--domain", "bridge", "--out", str(tmp_path / "out")])

    assert "fps" not in yaml.safe_load((tmp_path / "out/domain/my_bridge.yaml").read_text())


def test_a_lerobot_dataset_names_the_plugin_that_reads_it(tmp_path):
    (tmp_path / "set/meta").mkdir(parents=True)
    (tmp_path / "set/meta/info.json").write_text("{}")
    with pytest.raises(MissingPackageError, match="strands-diffusers-lerobot reads"):
        read_action_rows(str(tmp_path / "set"), "droid", {"file": FileSource()})
