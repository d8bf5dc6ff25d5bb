import json
import subprocess
import sys

import pytest

from strands_diffusers.pipelines import catalog


def test_wfm_lists_names_as_data_and_what_they_do_beside(use) -> None:
    reply = use("wfm", parameters={"limit": 1000})
    assert reply["data"] == [info.name for info in catalog.world_models()]
    assert reply["details"]["WanPipeline"] == {"takes": ["text"], "gives": ["video"], "modular": False, "family": "wan"}
    assert "Cosmos3OmniPipeline" in reply["content"][0]["text"]


@pytest.mark.parametrize("verb", ["wfm", "pipelines", "models", "schedulers", "tasks", "modalities"])
def test_a_list_is_small_enough_for_an_agent_and_says_how_to_see_the_rest(use, verb: str) -> None:
    reply = use(verb)
    assert len(reply["content"][0]["text"]) < 8000
    assert len(json.dumps(reply)) < 16_000
    if "details" in reply:
        assert "offset" in reply["content"][0]["text"]
        seen = set(reply["data"])
        assert not seen & set(use(verb, parameters={"offset": 40})["data"])


def test_pipelines_are_filtered_by_name_and_by_what_they_take_and_give(use, refused) -> None:
    wanted = {"takes": "image", "gives": "video", "name": "wan", "limit": 500}
    found = use("pipelines", parameters=wanted)
    assert "WanImageToVideoPipeline" in found["data"]
    assert found["data"] == [
        info.name
        for info in catalog.everything()
        if "image" in info.inputs and "video" in info.outputs and "wan" in info.name.lower()
    ]
    assert use("schedulers", parameters={"name": "unipc"})["data"][:1] == ["UniPCMultistepScheduler"]
    assert "Did you mean 'video'" in refused("pipelines", parameters={"gives": "vide"})
    assert "Did you mean 'limit'" in refused("pipelines", parameters={"limt": 3})
    assert "limit" in refused("pipelines", parameters={"limit": 0})
    assert "limit" in refused("pipelines", parameters={"limit": True})


@pytest.mark.parametrize(
    ("verb", "some"),
    [
        ("pipelines", ["WanPipeline", "ShapEPipeline", "StableAudioPipeline"]),
        ("models", ["AutoencoderKLWan", "Cosmos3OmniTransformer"]),
        ("schedulers", ["UniPCMultistepScheduler"]),
    ],
)
def test_lists_are_sorted_names(use, verb: str, some: list[str]) -> None:
    names = use(verb, parameters={"limit": 1000})["data"]
    assert names == sorted(set(names))
    assert set(some) <= set(names)


def test_tasks_and_modalities_are_tables(use) -> None:
    assert use("tasks")["data"]["text-to-image"]["flux"] == "FluxPipeline"
    modalities = use("modalities")["data"]
    assert "Cosmos3OmniPipeline" in modalities["text-to-action"]["names"]
    assert modalities["text-to-mesh"] == {"count": 1, "names": ["ShapEPipeline"]}


def test_pipeline_info_takes_the_name_as_target_or_pipeline(use) -> None:
    by_target = use("pipeline_info", target="Cosmos3OmniPipeline")["data"]
    assert by_target == use("pipeline_info", pipeline="Cosmos3OmniPipeline")["data"]
    assert by_target["call_params"]["guidance_scale"]["default"] == "6.0"
    assert by_target["components"]["vae"] == "AutoencoderKLWan"


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("CosmosActionCondition", "class"),
        ("UniPCMultistepScheduler", "class"),
        ("schedulers.UniPCMultistepScheduler.from_config", "method"),
        ("AutoencoderKLWan", "class"),
        ("utils.export_to_video", "function"),
        ("get_scheduler", "function"),
    ],
)
def test_inspect_reads_any_public_name(use, target: str, kind: str) -> None:
    data = use("inspect", target=target)["data"]
    assert data["kind"] == kind
    assert data["doc"] or target == "get_scheduler"
    parameters = data.get("init_params") or data.get("params")
    assert parameters


@pytest.mark.parametrize(
    "target", ["os.system", "utils._private", "CosmosActionCondition.__init__", "nothing", "utils.nothing"]
)
def test_inspect_of_anything_else_is_refused(refused, target: str) -> None:
    assert "not a public name" in refused("inspect", target=target)


def test_discovery_imports_no_torch() -> None:
    verbs = ["wfm", "pipelines", "models", "schedulers", "tasks", "modalities", "pipeline_info", "inspect"]
    program = (
        "import sys, json; from strands_diffusers.api.tool import use_diffusers\n"
        f"for verb in {verbs}: assert use_diffusers(verb, target='WanPipeline')['status'] == 'success', verb\n"
        "print(json.dumps([n for n in ('torch', 'diffusers', 'transformers', 'hydra', 'matplotlib', 'wandb') if n in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["wfm"], "Cosmos3OmniPipeline"),
        (["pipelines"], "ShapEPipeline"),
        (["info", "WanPipeline"], "num_frames"),
        (["info", "utils.export_to_video"], "video_frames"),
    ],
)
def test_the_command_line_has_the_verbs(arguments: list[str], expected: str, capsys) -> None:
    from strands_diffusers.cli import main

    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 0
    assert expected in capsys.readouterr().out


def test_the_command_line_gives_json(capsys) -> None:
    from strands_diffusers.cli import main

    with pytest.raises(SystemExit):
        main(["wfm", "--json"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["Cosmos3OmniPipeline"]["outputs"] == ["image", "video", "sound", "action"]


def test_the_command_line_refuses_an_unknown_name(capsys) -> None:
    from strands_diffusers.cli import main

    with pytest.raises(SystemExit) as done:
        main(["info", "WanPipelin"])
    assert done.value.code == 2
    assert "Did you mean 'WanPipeline'" in capsys.readouterr().err
