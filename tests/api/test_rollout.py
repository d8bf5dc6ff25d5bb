import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strands_diffusers import records
from strands_diffusers.api.access import Access
from strands_diffusers.api.request import Request
from strands_diffusers.api.tool import perform
from strands_diffusers.api.verbs import rollout as verb
from strands_diffusers.observations.media import read_clip

pytestmark = [pytest.mark.timeout(240)]

FAST = {"tracker": "none", "metric": [], "visualizer": [], "sampler": {"num_inference_steps": 1}}
OWN = {"sampler": {}}


def confined(roots: tuple[Path, ...], **parameters):
    return perform(Access(roots), "rollout", parameters=parameters)


def test_a_rollout_on_the_embedded_model_is_the_typed_job(use, artifacts: Path) -> None:
    reply = use("rollout", parameters={**FAST, "condition": "policy", "seed": 3})
    assert reply["status"] == "success", reply
    data = reply["data"]
    assert (data["mode"], data["domain"], data["seed"]) == ("policy", "pusht", 3)
    directory = Path(data["directory"])
    assert directory.parent == artifacts
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["config"]["sampler"]["num_inference_steps"] == 1
    assert data["action"]["chunk_shape"] == [16, 2]
    stored = np.float32(json.loads(Path(data["action"]["path"]).read_text()))
    np.testing.assert_array_equal(stored, np.float32(data["action"]["data"]))
    assert read_clip(Path(data["video"]["path"])).frames_FHWC.shape == tuple(data["video"]["shape"])
    assert set(reply["artifacts"]) >= {data["video"]["path"], data["action"]["path"]}
    drawn = use("visualize", inputs=data["action"]["path"])
    assert drawn["data"]["domain"] == "pusht"


def test_short_arguments_serve_too_and_a_prompt_is_kept_letter_by_letter(
    use, cosmos3: Path, clip: Path, tmp_path: Path
) -> None:
    prompt = 'Put the cup, then the pot: it\'s "there" = done, [x] {y} $5 ${oc.env:HOME} a\\b'
    reply = use(
        "rollout",
        model=str(cosmos3),
        inputs=str(clip),
        device="cpu",
        dtype="float32",
        parameters={
            **FAST,
            "domain": "bridge",
            "condition.chunk_size": 4,
            "condition": {"resolution_tier": 256},
            "sampler.guidance_scale": 1,
            "prompt": prompt,
            "output": ["video", "action"],
            "output_dir": str(tmp_path / "2026_11_27"),
        },
    )
    assert reply["status"] == "success", reply
    record = records.read(tmp_path / "2026_11_27")
    assert record.prompt == prompt
    assert reply["data"]["action"]["chunk_shape"] == [4, 10]


@settings(derandomize=True, max_examples=12, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=40)
    .filter(lambda text: text.strip())
    .flatmap(
        lambda text: st.sampled_from(
            [text, f"${{oc.env:{text}}}", f"$\\{{oc.env:HOME}}{text}", f"str({text})", f"[{text}"]
        )
    )
)
def test_text_is_never_read_as_hydras_grammar(text: str) -> None:
    from strands_diffusers.config import compose

    request = Request("rollout", parameters={"prompt": text, "model.name": text})
    config = compose.compose(values=verb._values(request))
    assert (config.prompt, config.model.name) == (text, text)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"condition": "polcy"}, "policy"),
        ({"sampler": {"num_inference_steps": -1}}, "num_inference_steps"),
        ({"sampler.steps": 3}, "steps"),
        ({"seed": {"a": "b"}}, "seed"),
        ({"a b": 1}, "not a config key"),
        ({"seed": print}, "config value"),
        ({"overrides": ["seed=1"]}, "is gone"),
        ({"overrides": [1]}, "is gone"),
        ({"observation": "missing.mp4"}, "missing.mp4"),
        ({"condition": "policy", "observation": None}, "observation"),
    ],
)
def test_wrong_overrides_are_one_line_and_write_nothing(refused, artifacts: Path, parameters, message: str) -> None:
    assert message in refused("rollout", parameters={**FAST, **parameters})
    assert not artifacts.exists() or not list(artifacts.iterdir())


@pytest.mark.slow
def test_a_closed_loop_runs_for_a_confined_caller(artifacts: Path) -> None:
    reply = confined(
        (),
        **FAST | OWN | {"metric": ["scores"]},
        condition={"name": "closed_loop", "num_looks": 2, "act_steps": 4},
        policy={"name": "model", "sampler": {"num_inference_steps": 1, "guidance_scale": 1}},
        **{"score": ["goal_image"], "score.goal_image.goal": "sample:push_left@frame:-1"},
    )

    assert reply["status"] == "success", reply
    assert reply["data"]["mode"] == "closed_loop"
    assert 0 < reply["data"]["metrics"]["scores"]["goal_image_final"] < 1
    assert {Path(path).name for path in reply["artifacts"]} >= {
        "video.mp4",
        "action.json",
        "episode.json",
        "proposed.mp4",
    }


@pytest.mark.parametrize(
    "parameters",
    [
        {"observation": "/etc/hostname"},
        {"observation": "run:/etc"},
        {"observation": "file:///etc/hostname"},
        {"condition": "forward_dynamics", "condition.actions": "/etc/hostname"},
        {"model": "custom", "domain": "pusht", "model.repo": "/etc"},
        {"model.lora.repo": "/etc"},
        {"output_dir": "/tmp/elsewhere"},
        {"source.https.allow": True},
        {"source": {"https": {"allow": True}}},
        {"hydra.run.dir": "/tmp"},
        {"tracker.mode": "online"},
        {"tracker": "wandb"},
        {"tracker": {"name": "wandb", "project": "x"}},
        {"resume": "/tmp"},
        {"sweep.retries": 3},
        {"domain.statistics": "/etc/hostname"},
        {"domain.statistics": "x/../../../etc/hostname"},
        {"model": "../../../etc/hostname"},
        {"experiment": "/etc/hostname"},
        {"metric": ["../x"]},
        {"model.lora": {"repo": "/etc"}},
        {"condition": "closed_loop", **OWN, "policy": "replay", "policy.actions": "/etc/hostname"},
        {"condition": "closed_loop", **OWN, "policy.repo": "/etc"},
        {"condition": "closed_loop", **OWN, "policy": "server"},
        {"condition": "closed_loop", **OWN, "score": ["goal_image"], "score.goal_image.goal": "/etc/hostname@frame:0"},
        {"model.scheduler": "/etc/hostname"},
        {"foo": 1},
    ],
)
def test_a_confined_caller_names_no_file_outside_of_its_roots(parameters, tmp_path: Path) -> None:
    reply = confined((tmp_path / "open",), **(FAST | parameters))
    assert reply["status"] == "error"
    assert reply["data"]["error"] == "AccessError", reply


def test_a_confined_caller_reads_nothing_from_the_web_with_or_without_the_package_that_could(tmp_path: Path) -> None:
    reply = confined((tmp_path / "open",), **(FAST | {"observation": "https://example.org/a.mp4"}))
    assert reply["data"]["error"] in ("AccessError", "MissingPackageError"), reply


def test_a_confined_caller_runs_the_embedded_model_and_files_below_its_roots(
    tmp_path: Path, clip: Path, cosmos3: Path
) -> None:
    parameters = {
        **FAST, "model": "custom", "model.repo": str(cosmos3), "observation": str(clip), "domain": "bridge", "prompt": "Move.",
        "condition.chunk_size": 4, "condition.resolution_tier": 256, "sampler.guidance_scale": 1,
    }  # fmt: skip
    assert confined((tmp_path, cosmos3), **parameters)["status"] == "success"
