"""Where a run goes: WANDB_MODE, keys, and a server that is away. Each against real wandb."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wandb_readback import read_runs
from wandb_record import record_of
from wandb_server import serving

from strands_diffusers.trackers.wandb import WandbTracker
from strands_diffusers.trackers.wandb.environment import environment
from strands_diffusers.trackers.wandb.server import WandbMode, choose_mode

KEY = "0" * 40
METRICS = {"video": {"psnr": 31.25}}


@pytest.fixture
def server(monkeypatch):
    """A W&B server of our own, for which there is a key."""
    with serving() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield server


def job(info, rollout, artifacts, **options) -> tuple[list[str], float]:
    started = time.monotonic()
    tracker = WandbTracker(WandbTracker.Config(**options))
    tracker.start(info)
    record = record_of(info.directory, [rollout], artifacts, [METRICS])
    tracker.log(record, [rollout])
    tracker.finish(record)
    return tracker.notes(), time.monotonic() - started


def test_without_a_key_auto_is_offline_and_needs_no_explanation():
    assert choose_mode(WandbMode.auto) == ("offline", None)


def test_online_without_a_key_asks_nothing_and_says_how_to_log_in():
    mode, why = choose_mode(WandbMode.online)

    assert mode == "offline"
    assert "wandb login" in why


@pytest.mark.parametrize("variable", ["WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"])
def test_a_key_in_the_environment_makes_auto_online(variable, monkeypatch):
    monkeypatch.setenv(variable, KEY)

    assert choose_mode(WandbMode.auto) == ("online", None)


def test_a_key_in_netrc_makes_auto_online_for_its_server_only(home):
    import wandb

    host = wandb.setup().settings.base_url.removeprefix("https://")
    (home / ".netrc").write_text(f"machine elsewhere.example\n login user\n password {KEY}\n")
    assert choose_mode(WandbMode.auto) == ("offline", None)

    (home / ".netrc").write_text(f"machine {host}\n login user\n password {KEY}\n")
    assert choose_mode(WandbMode.auto) == ("online", None)


@pytest.mark.usefixtures("fresh_session")
def test_a_key_in_wandbs_settings_file_makes_auto_online(home):
    (home / "config").mkdir()
    (home / "config" / "settings").write_text(f"[default]\napi_key = {KEY}\n")

    assert choose_mode(WandbMode.auto) == ("online", None)


@pytest.mark.usefixtures("fresh_session")
def test_wandb_offline_typed_once_is_respected(home, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    (home / "config").mkdir()
    (home / "config" / "settings").write_text("[default]\nmode = offline\n")

    assert choose_mode(WandbMode.auto) == ("offline", None)


@pytest.mark.parametrize("mode", ["offline", "online", "disabled"])
def test_wandb_mode_wins_over_auto_and_loses_to_an_explicit_mode(mode, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", mode)

    assert choose_mode(WandbMode.auto) == (mode, None)
    assert choose_mode(WandbMode.offline) == ("offline", None)
    assert choose_mode(WandbMode.disabled) == ("disabled", None)


@pytest.mark.parametrize("value", ["true", "1", "YES"])
def test_wandb_disabled_means_no_run_and_loses_to_an_explicit_mode(value, monkeypatch):
    monkeypatch.setenv("WANDB_DISABLED", value)

    assert choose_mode(WandbMode.auto) == ("disabled", None)
    assert choose_mode(WandbMode.offline) == ("offline", None)


def test_wandb_disabled_false_changes_nothing(monkeypatch):
    monkeypatch.setenv("WANDB_DISABLED", "false")

    assert choose_mode(WandbMode.auto) == ("offline", None)


def test_a_run_id_in_the_environment_does_not_make_all_jobs_of_a_sweep_one_run(
    info, rollout, artifacts, another, monkeypatch
):
    for name, value in (
        ("WANDB_RUN_ID", "theirs"),
        ("WANDB_RESUME", "must"),
        ("WANDB_SWEEP_ID", "x"),
        ("WANDB_NAME", "y"),
    ):
        monkeypatch.setenv(name, value)
    jobs = [dataclasses.replace(another(f"job {i}"), id=f"{i:016x}", group="sweep") for i in range(2)]

    for each in jobs:
        job(each, rollout, [])

    runs = [read_runs(each.directory)[0] for each in jobs]
    assert [(run.id, run.name) for run in runs] == [(each.id, each.name) for each in jobs]


@pytest.mark.usefixtures("fresh_session")
def test_a_run_id_in_the_environment_names_a_single_run(info, rollout, artifacts, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "mine")

    job(dataclasses.replace(info, group=None), rollout, artifacts)

    assert read_runs(info.directory)[0].id == "mine"


SINGLE = ("WANDB_RUN_ID", "WANDB_PROJECT", "WANDB_API_KEY")

MALFORMED = {
    "WANDB_MODE": "bogus", "WANDB_BASE_URL": "not an address", "WANDB_SILENT": "maybe", "WANDB_INIT_TIMEOUT": "soon",
    "WANDB_CONSOLE": "x", "WANDB_PROJECT": "a/b", "WANDB_API_KEY": "secret\n", "WANDB_RUN_ID": "a/b",
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.usefixtures("fresh_session")
def test_a_variable_that_wandb_cannot_read_leaves_the_run_offline_and_is_named(
    name, info, rollout, artifacts, monkeypatch
):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv(name, MALFORMED[name])

    notes, _ = job(info, rollout, artifacts)

    assert notes[0].startswith(f"W&B is left offline: {name} cannot be read (")
    assert "secret" not in notes[0]
    [run] = read_runs(info.directory)
    assert {"video", "action/table"} <= run.keys
    assert os.environ[name] == MALFORMED[name]


@settings(max_examples=25, derandomize=True, deadline=None)
@given(value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12))
def test_any_text_in_a_variable_of_wandbs_is_either_taken_or_named(value):
    for name in ("WANDB_MODE", "WANDB_BASE_URL", "WANDB_SILENT", "WANDB_TAGS", "WANDB_HTTP_TIMEOUT", *SINGLE):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(name, value)
            with environment(Path("unused"), of_a_sweep=False) as unreadable:
                import wandb

                wandb.Settings().update_from_env_vars(os.environ)  # what is left, wandb reads
                assert (name in os.environ) == (not unreadable)
            assert os.environ[name] == value


def test_disabled_writes_nothing(info, rollout, artifacts, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")

    notes, _ = job(info, rollout, artifacts)

    assert notes == []
    assert not (info.directory / "wandb").exists()


@pytest.mark.usefixtures("fresh_session")
def test_an_online_run_reaches_the_server_whole(info, rollout, artifacts, server):
    notes, _ = job(info, rollout, artifacts)

    assert [note for note in notes if note.startswith("W&B run: http://127.0.0.1")] == notes
    assert server.runs[0]["project"] == "strands-diffusers"
    assert server.runs[0]["groupName"] == info.group
    sent = {name: content for name, content in server.uploads.items() if name.startswith("media/")}
    for kind, name in (("videos", "video.mp4"), ("images", "timeseries.png"), ("audio", "sound.wav")):
        file = (info.directory / name).read_bytes()
        assert file in [content for path, content in sent.items() if path.startswith(f"media/{kind}")], name
    assert {"artifact/action/table.table.json", "artifact/action.json"} <= set(server.uploads)
    assert server.commits == 2  # the table and the rollout's files


@pytest.mark.usefixtures("fresh_session", "server")
def test_a_job_that_is_tried_again_online_continues_its_run_where_that_ended(info, rollout, artifacts):
    again = dataclasses.replace(info, id="0123456789abcdef", name="seed=3")
    tracker = WandbTracker()
    tracker.start(again)
    tracker.finish(record_of(info.directory, [], status="failed", error="RolloutError: out of memory"))

    notes, _ = job(again, rollout, artifacts)

    assert [note.rpartition("/")[2] for note in notes] == ["0123456789abcdef"]
    [run] = read_runs(info.directory)
    assert run.id == "0123456789abcdef"
    assert min(row["_step"] for row in run.history) == 5  # the stand-in says that the first attempt ended at 4
    assert (run.summary["status"], run.summary["error"]) == ("done", None)
    assert set(run.tags) == {"bridge", "demo"}  # the first attempt's problems are over


@pytest.mark.slow
def test_a_dead_server_costs_the_timeout_once_and_no_rollout(
    info, another, rollout, artifacts, monkeypatch, fresh_session
):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # the discard port: nobody listens
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    first, second = info, another("second")

    notes, seconds = job(first, rollout, artifacts, init_timeout_s=4.0)
    later_notes, later_seconds = job(second, rollout, [], init_timeout_s=4.0)

    assert "runs are kept offline for the rest of this process" in notes[0]
    assert 4 <= seconds < 10.5
    assert later_seconds < 4  # without the wait, which is long enough to tell on a busy machine too
    [run] = read_runs(first.directory)  # and no half-opened online run beside it
    assert {"video", "plots/timeseries", "action/table", "metrics/video.psnr"} <= run.keys
    assert run.summary["status"] == "done"
    for directory, said in ((first.directory, notes), (second.directory, later_notes)):
        [run] = read_runs(directory)
        assert str(run.directory) in said[-1]
        assert "wandb sync" in said[-1]


@pytest.mark.slow
@pytest.mark.parametrize("fault", [401, 500, "garbage", "redirect", "hang"])
def test_a_server_that_misbehaves_costs_the_timeout_and_no_rollout(
    fault, info, rollout, artifacts, server, fresh_session
):
    server.fault = fault

    notes, seconds = job(info, rollout, artifacts, init_timeout_s=0.8, upload_timeout_s=0.8)

    assert seconds < 30
    assert notes[0].startswith("W&B ")
    assert "wandb sync" in notes[-1]
    [run] = read_runs(info.directory)
    assert {"video", "action/table", "metrics/video.psnr"} <= run.keys
    assert run.summary["status"] == "done"


@pytest.mark.usefixtures("fresh_session")
def test_a_refused_key_is_a_note_and_the_run_is_kept(info, rollout, artifacts, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "no key at all")

    notes, _ = job(info, rollout, artifacts)

    assert notes[0].startswith("W&B is not reachable (WANDB_API_KEY invalid: ")
    [run] = read_runs(info.directory)
    assert "video" in run.keys


@pytest.mark.slow  # wandb itself asks the server about an artifact for 20 s
def test_a_server_that_dies_during_the_job_is_left_after_the_timeout(
    info, another, artifacts, rollout, server, fresh_session
):
    tracker = WandbTracker(WandbTracker.Config(upload_timeout_s=2))
    tracker.start(info)
    server.fault = 503
    started = time.monotonic()
    record = record_of(info.directory, [rollout], artifacts, [METRICS])
    tracker.log(record, [dataclasses.replace(rollout, action=None)])
    tracker.finish(record)

    assert time.monotonic() - started < 40
    assert tracker.notes()[0].startswith("W&B could not ")
    assert "wandb sync" in tracker.notes()[-1]
    [run] = read_runs(info.directory)
    assert {"video", "metrics/video.psnr"} <= run.keys
    assert run.media("video")[0].is_file()
    assert choose_mode(WandbMode.auto) == ("offline", None)  # nor does the next job wait for it


def sync(directory: Path) -> None:
    command = [sys.executable, "-m", "wandb", "sync", str(directory)]
    subprocess.run(command, check=True, capture_output=True, timeout=50, cwd=directory.parent)


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_session")
def test_the_sync_line_uploads_an_offline_run_whole(info, rollout, artifacts, server):
    job(info, rollout, artifacts, mode=WandbMode.offline)
    assert server.runs == []

    [run] = read_runs(info.directory)
    sync(run.directory)

    assert server.runs[0]["name"] == run.id
    assert (info.directory / "video.mp4").read_bytes() in server.uploads.values()
    assert server.commits == 2


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_session")
def test_a_run_that_was_moved_still_uploads_its_media(info, rollout, artifacts, server, tmp_path):
    job(info, rollout, artifacts, mode=WandbMode.offline)
    read_runs(info.directory)  # until it is closed

    moved = info.directory.rename(tmp_path / "elsewhere")
    [run] = read_runs(moved)
    sync(run.directory)

    for name in ("video.mp4", "animation.mp4", "timeseries.png", "sound.wav"):
        assert (moved / name).read_bytes() in server.uploads.values(), name
    assert any(name.startswith("media/table/action/table") for name in server.uploads)


@pytest.mark.usefixtures("fresh_session")
def test_a_home_folder_that_cannot_be_written_does_not_flood_the_terminal(
    info, rollout, artifacts, home, capfd, monkeypatch
):
    (home / "a file").write_text("")
    monkeypatch.setenv("HOME", str(home / "a file"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    import wandb

    notes, _ = job(info, rollout, artifacts)
    wandb.teardown()

    assert len(notes) == 1
    assert "wandb sync" in notes[0]
    assert capfd.readouterr().err == ""
