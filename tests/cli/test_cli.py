"""The command: exit statuses, one line per error, sweeps that go on, nothing left behind by a refused request."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys

import plugin_site
import pytest
from bare import bare

from strands_diffusers.cli import main
from strands_diffusers.config.store import conf_dir
from strands_diffusers.pipelines import loader, pretrained


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Run the command in an empty folder; returns (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        out, err = capfd.readouterr()
        return int(caught.value.code or 0), out, err

    return run


def test_a_rollout_ends_with_a_table_of_what_was_written(command, tmp_path):
    status, _, err = command(*bare("output_dir=here"))

    assert status == 0
    assert "action.json" in err
    assert "float32 1x16x2" in err
    assert json.loads((tmp_path / "here" / "manifest.json").read_text())["status"] == "done"
    assert f"page: {tmp_path / 'here' / 'index.html'}\n" in err
    assert '<script type="application/json" id="data">' in (tmp_path / "here" / "index.html").read_text()


def test_without_output_dir_results_go_to_the_dated_folder(command, tmp_path):
    assert command(*bare())[0] == 0
    assert len(list(tmp_path.glob("outputs/*/*/manifest.json"))) == 1


WRONG = {
    "condition=polcy": "condition=polcy is not a choice",
    "domain=brige": "Did you mean 'bridge'?",
    "model=nano": "model=nano is not a choice",
    "output=[film]": "output=film is not a choice",
    "condition.resolution_tier=500": "Use 256, 480, 704, 720 or null",
    "model.dtype=int8": "use auto, float32, bfloat16, float16",
    "model.device=cuda:99": "this machine has",
    "observation=missing.png": "does not exist",
    "observation=sample:nowhere": "push_left",
    "sampler.num_inference_steps=-1": "must be from 1",
    "domain.fps=0": "must be > 0",
    "prompt=it's": "Quote the value",
    "engine=exakt": "engine=exakt is not a choice",
    "engine=fp8": "engine=fp8",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_request_is_one_line_exit_status_2_and_leaves_nothing(command, tmp_path, override):
    status, out, err = command(*bare(override))

    assert status == 2
    assert WRONG[override] in err
    assert len(err.strip().splitlines()) == 1, err
    assert "Traceback" not in err + out
    assert not list(tmp_path.rglob("*.json"))
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(("word", "verb"), [("doctr", "doctor"), ("reprot", "report"), ("redrew", "redraw")])
def test_a_misspelt_verb_is_answered_with_the_nearest(command, word, verb):
    status, _, err = command(word)

    assert status == 2
    assert f"{word!r} is neither a verb nor an override KEY=VALUE" in err
    assert err.rstrip().endswith(f"Did you mean {verb!r}?")


def test_a_folder_that_cannot_be_written_to_is_one_line(command, tmp_path):
    (tmp_path / "file").write_text("not a folder")

    status, _, err = command(*bare("output_dir=file/below"))

    assert status == 2
    assert len(err.strip().splitlines()) == 1, err
    assert "file/below" in err


def test_a_sweep_with_one_wrong_job_is_refused_before_the_first_load(command, tmp_path, monkeypatch):
    loader.clear()
    monkeypatch.setattr(pretrained, "load", lambda *a: pytest.fail("loaded"))

    status, _, err = command("-m", *bare("seed=0,1,2", "observation=sample:push_left,missing.mp4"))

    assert status == 2
    assert "job 1 of 6" in err
    assert "missing.mp4 does not exist" in err
    assert not (tmp_path / "multirun").exists()


def test_a_sweep_goes_on_after_a_failed_job_and_ends_with_status_1(command, tmp_path):
    with plugin_site.registered():  # a serializer that fails for one seed at run time
        status, _, err = command("-m", *bare("output=[sometimes]", "seed=0,1,2,3", "output_dir=sweep"))

    assert status == 1
    folders = {p.name: p for p in (tmp_path / "sweep").iterdir() if p.is_dir()}
    assert sorted(folders) == ["0", "1", "2", "3"]
    assert [n for n, p in sorted(folders.items()) if (p / "manifest.json").exists()] == ["0", "1", "3"]
    failure = json.loads((folders["2"] / "failure.json").read_text())
    assert failure["error"] == "OutputError: seed 2 is unlucky"
    assert "3 done, 1 failed" in err
    assert "seed 2 is unlucky" in err
    assert "Traceback" not in err
    rows = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["jobs"]
    assert [r["status"] for r in rows] == ["done", "done", "failed", "done"]


def test_hydras_own_flags_pass_through(command):
    status, out, _ = command("--cfg", "job", "seed=7")
    assert status == 0
    assert "seed: 7" in out

    status, out, _ = command("--help")
    assert status == 0
    for word in ("strands-diffusers wfm", "policy", "plugins"):
        assert word.split()[-1] in out


def test_the_verbs_answer(command):
    assert command("--version")[1].startswith("strands-diffusers ")
    assert "bridge_orig_lerobot" in command("domains")[1]
    assert "register_serializers" in command("plugins", "--hook", "register_serializers")[1]
    assert "register_trackers" not in command("plugins", "--hook", "register_serializers")[1]
    status, _, err = command("plugins", "--hook", "register_serialisers")
    assert status == 2
    assert "Did you mean 'register_serializers'?" in err


def test_samples_and_experiments_of_plugins_are_listed_too(command):
    pytest.importorskip("strands_diffusers_https")
    pytest.importorskip("strands_diffusers_lerobot")
    samples, experiments = (
        dict(line.split(maxsplit=1) for line in command(verb)[1].splitlines()) for verb in ("samples", "experiments")
    )

    assert samples["https:..."].endswith("(plugin https)")  # a source
    assert experiments["lerobot_droid"].endswith(".")  # its sentence goes over several lines


def test_samples_and_experiments_are_listed_with_a_sentence_each(command):
    status, samples, _ = command("samples")

    assert status == 0
    assert "sample:push_left    Push the T block to the left.\n" in samples

    status, experiments, _ = command("experiments")
    listed = dict(line.split(maxsplit=1) for line in experiments.splitlines())

    assert status == 0
    assert set(listed) >= {path.stem for path in (conf_dir() / "experiment").glob("*.yaml")}
    assert listed["seed_spread"] == "How much do videos differ that differ in nothing but the seed?"


def test_importing_loading_plugins_composing_and_listing_leave_torch_out():
    code = """
import sys
import strands_diffusers
from strands_diffusers.plugin.manager import plugins
plugins()
from strands_diffusers.runner import sweep
sweep.prepare()
from strands_diffusers.config import compose
compose.compose(["seed=1"])
from strands_diffusers.pipelines import catalog
assert len(catalog.world_models()) > 5
heavy = sorted({"torch", "diffusers", "transformers", "wandb", "matplotlib", "numpy"} & set(sys.modules))
assert not heavy, heavy
assert "strands_diffusers.evaluation.tables" not in sys.modules
"""
    others = ",".join(point.name for point in importlib.metadata.entry_points(group="strands_diffusers"))
    env = {**os.environ, "STRANDS_DIFFUSERS_DISABLE": others}  # what third parties import is theirs
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-m", "seed=range(0,3,0)"), r"seed=range\(0,3,0\): range\(\) arg 3 must not be zero"),
        (("-m", "seed=range(3,0)"), r"seed=range\(3,0\) holds no value: this sweep has no job"),
        (("-m", "seed=range(0,100000000)"), "the limit is 100,000"),
        (("--resolve",), "--resolve goes with --cfg or --help"),
        (("--shell-completion",), "Expecting one subcommand"),
        (("-sc", "query=bash"), "with the line in COMP_LINE"),
        (("--experimental-rerun", "x"), "is not supported"),
        (("--seed=3",), r"overrides have no dashes\. Type seed=3"),
        (
            ("hydra.job_logging.handlers.console.class=nope.Nope", "output_dir=x"),
            "hydra.job_logging or hydra.hydra_logging is wrong",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_corner_of_hydra_is_one_line(arguments, said, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COMP_LINE", raising=False)

    with pytest.raises(SystemExit) as caught:
        main(list(arguments))

    out, err = capfd.readouterr()
    assert caught.value.code == 2
    assert re.match(f"ConfigError: .*{said}", err)
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize(("flags", "written"), [([], "x"), (["-m"], "x/0")], ids=["run", "sweep"])
def test_a_tilde_is_the_home_folder(flags, written, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path))

    with pytest.raises(SystemExit) as caught:
        main([*flags, *bare(), "output_dir=~/x"])

    assert not caught.value.code
    assert (tmp_path / written / "manifest.json").is_file()
    assert not list((tmp_path / "here").iterdir())


def test_flags_may_stand_anywhere(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main([*bare(), "-m", "seed=0,1", "output_dir=sweep"])

    assert not caught.value.code
    assert "sweep: 2 done" in capfd.readouterr().err


@pytest.mark.slow
def test_a_closed_standard_error_costs_no_rollout(tmp_path):
    line = f"{sys.executable} -m strands_diffusers {' '.join(bare())} output_dir=out 2>&-"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, check=False)

    assert done.returncode == 0
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_the_completion_script_is_nothing_but_the_script(capfd, monkeypatch):
    monkeypatch.delenv("COMP_LINE", raising=False)
    with pytest.raises(SystemExit):
        main(["-sc", "install=bash"])

    assert capfd.readouterr().out.startswith("export _HYDRA_OLD_COMP=")


def test_a_traceback_only_where_it_is_asked_for(tmp_path):
    command = [sys.executable, "-m", "strands_diffusers", "seed=-1"]
    plain = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    full = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "HYDRA_FULL_ERROR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert plain.returncode == 2
    assert "Traceback" not in plain.stderr
    assert "Traceback" in full.stderr
