"""The W&B workspace: its panels name what the tracker logs, and its specification reaches the server whole."""

import json

import pytest
from strands_diffusers_workspace import workspace as panels
from wandb_readback import isolate_wandb, read_runs

from strands_diffusers import domains, rollouts
from strands_diffusers.errors import DomainError, StrandsDiffusersError
from strands_diffusers.trackers.wandb import DEFAULT_PROJECT, tables


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """The runs of a job of one sample and of one of two on the embedded model, with all that is drawn and measured."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        isolate_wandb(patch, tmp_path_factory.mktemp("home"))
        for samples in (1, 2):
            directory = tmp_path_factory.mktemp("job")
            fast = ("sampler.num_inference_steps=2", "sampler.guidance_scale=1", f"sampler.num_samples={samples}")
            rollouts(*fast, "tracker=wandb", "tracker.mode=offline", output_dir=directory)
            found += read_runs(directory)
    return found


@pytest.fixture
def logged(jobs) -> set[str]:
    """The keys of both."""
    return set().union(*(run.keys for run in jobs))


def test_the_names_that_the_tracker_logs_under_are_its_own():
    assert (panels.DEFAULT_PROJECT, panels.TABLE, panels.LINE, panels.STEP) == (
        DEFAULT_PROJECT, tables.TABLE, tables.LINE, tables.STEP,
    )  # fmt: skip


def test_the_plugin_conforms():
    import strands_diffusers_workspace

    from strands_diffusers import testing

    [command] = testing.check_plugin(strands_diffusers_workspace).commands.values()
    assert command.name == "wandb-workspace"


def keys_of(kind: str) -> set[str]:
    return {key for section in panels.sections(["pusht"]) for p in section.panels if p.kind == kind for key in p.keys}


@pytest.mark.slow
def test_every_picture_and_video_that_a_panel_shows_is_logged(logged):
    shown = {key for key in logged if key.startswith("plots/") or key in ("video", "observation", "reference")}
    assert shown == keys_of("media")


@pytest.mark.slow
def test_the_panels_of_a_domains_actions_are_the_charts_that_a_run_logs(jobs):
    for run in jobs:
        assert {f"action/{column}" for column in keys_of("lines")} == set(run.charts)
    assert keys_of("table") - {"sweep"} <= jobs[1].keys


@pytest.mark.slow
def test_every_score_and_its_baselines_stand_in_one_panel(logged):
    [metrics] = [section for section in panels.sections(["pusht"]) if section.name == "Metrics"]
    by_title = {panel.title: panel.keys for panel in metrics.panels}

    psnr = by_title["video psnr [dB], higher is better"]
    assert psnr[:2] == ("metrics/video.psnr", "metrics/video.psnr_repeat_first_frame")
    assert set(psnr) <= logged
    assert len(set(keys_of("bars"))) == sum(
        len(p.keys) for s in panels.sections(["pusht"]) for p in s.panels if p.kind == "bars"
    )
    assert "metrics/action.mse_no_motion" in by_title["action mse, lower is better"]


@pytest.mark.slow
def test_every_stage_that_is_timed_has_its_bar(logged):
    assert {key for key in logged if key.startswith("seconds/")} <= keys_of("bars")


@pytest.mark.parametrize("domain", [domain.short for domain in domains.all_domains() if domain.width])
def test_every_column_of_every_domain_has_a_panel(domain):
    assert [panel.title for panel in panels.action_panels(domain)] == [c.name for c in domains.get(domain).columns]


def test_a_domain_is_named_once_however_it_is_typed():
    names = [section.name for section in panels.sections(["bridge", "bridge_orig_lerobot", "pusht"])]

    assert [name for name in names if name.startswith("Actions")] == ["Actions of bridge", "Actions of pusht"]
    with pytest.raises(DomainError, match="Did you mean 'bridge'"):
        panels.sections(["brigde"])


# --------------------------------------------------------------------------------------- with wandb-workspaces


class Server:
    """Stands for W&B's API, which no test may reach: it takes one view and keeps it."""

    app_url = "https://wandb.example"

    def __init__(self):
        self.views = []

    def execute_graphql(self, query, variables=None):
        assert "upsertView" in query
        self.views.append(variables)
        return {"upsertView": {"view": {"id": "VmlldzE=", "name": "nw-abc123-v"}, "inserted": True}}


@pytest.fixture
def server(monkeypatch):
    pytest.importorskip("wandb_workspaces", reason="wandb-workspaces is not installed")
    import wandb

    server = Server()

    class Api:
        default_entity = "me"

        def __init__(self):
            self._service_api = server

    monkeypatch.setattr(wandb, "Api", Api)
    return server


def saved(server, *arguments: str) -> dict:
    assert panels.main([*arguments]) == 0
    [view] = server.views
    return view | {"spec": json.loads(view["spec"])}


def panels_of(view: dict) -> dict[str, list[dict]]:
    bank = view["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in bank}


def test_the_saved_view_holds_every_panel_with_its_keys(server, capsys):
    view = saved(server, "--domain", "bridge", "--domain", "pusht")

    assert (view["entityName"], view["projectName"]) == ("me", DEFAULT_PROJECT)
    assert view["displayName"] == "World-model rollouts"
    expected = panels.sections(["bridge", "pusht"])
    found = panels_of(view)
    assert list(found) == [section.name for section in expected]
    for section in expected:
        assert len(found[section.name]) == len(section.panels)
        for planned, sent in zip(section.panels, found[section.name], strict=True):
            config = sent["config"]
            if planned.kind in ("media", "bars"):
                assert tuple(config.get("mediaKeys") or config["metrics"]) == planned.keys
                assert config["chartTitle"] == planned.title
            if planned.kind == "lines":
                assert config["fieldSettings"] == {"x": "step", "y": planned.keys[0], "stroke": "line"}
                assert config["panelDefId"] == "wandb/line/v0"
                assert '"value": "action/table"' in json.dumps(config["userQuery"])
            assert planned.kind != "table" or f'"val": "{planned.keys[0]}"' in json.dumps(sent)
    assert capsys.readouterr().out.strip().startswith("https://wandb.example/me/strands-diffusers")


def test_runs_are_sorted_by_prompt_and_seed_and_filtered_by_sweep(server):
    [runs] = saved(server, "--sweep", "2026-11-22_10-00-00")["spec"]["section"]["runSets"]

    assert [key["key"]["name"] for key in runs["sort"]["keys"]] == ["prompt", "seed"]
    [only] = runs["filters"]["filters"]
    assert (only["key"]["name"], only["op"], only["value"]) == ("group", "=", "2026-11-22_10-00-00")


def test_printing_sends_nothing(server, capsys):
    assert panels.main(["--print", "--domain", "umi"]) == 0

    spec = json.loads(capsys.readouterr().out)
    assert "Actions of umi" in [s["name"] for s in spec["section"]["panelBankConfig"]["sections"]]
    assert server.views == []


# ----------------------------------------------------------------------------------------------------- refusals


def test_without_a_key_one_line_says_so(monkeypatch):
    pytest.importorskip("wandb_workspaces", reason="wandb-workspaces is not installed")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")

    with pytest.raises(StrandsDiffusersError, match=r"the workspace was not saved: .*wandb login"):
        panels.main([])
