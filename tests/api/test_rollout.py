import json
from pathlib import Path

import numpy as np
import pytest

from strands_diffusers.api.access import Access
from strands_diffusers.api.tool import perform
from strands_diffusers.api.verbs import rollout as verb
from strands_diffusers.observations.media import read_clip

pytestmark = [pytest.mark.timeout(240)]

FAST = {"tracker": "none", "metric": [], "visualizer": [], "sampler": {"num_inference_steps": 1}}


def confined(roots: tuple[Path, ...], **parameters):
    return perform(Access(roots), "rollout", None, None, None, None, parameters, None, None, None, True, 24.0, "")


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


def test_ready_made_overrides_and_short_arguments_serve_too(use, cosmos3: Path, film: Path, tmp_path: Path) -> None:
    reply = use(
        "rollout",
        model=str(cosmos3),
        inputs=str(film),
        device="cpu",
        dtype="float32",
        parameters={
            **FAST,
            "overrides": [
                "domain=bridge",
                "condition.chunk_size=4",
                "condition.resolution_tier=256",
                "sampler.guidance_scale=1",
            ],
            "prompt": 'Put the cup, then the pot: it\'s "there" = done, [x] {y} $5 a\\b',
            "output": ["video", "action"],
            "output_dir": str(tmp_path / "job"),
        },
    )
    assert reply["status"] == "success", reply
    manifest = json.loads((tmp_path / "job" / "manifest.json").read_text())
    assert manifest["rollout"]["prompt"] == 'Put the cup, then the pot: it\'s "there" = done, [x] {y} $5 a\\b'
    assert reply["data"]["action"]["chunk_shape"] == [4, 10]


@pytest.mark.parametrize(
    "prompt",
    [
        "a",
        "a, b",
        "it's",
        'say "x"',
        "a=b",
        "~x",
        "#1",
        "(x)",
        "{x}",
        "[x]",
        "null",
        "true",
        "12",
        "1e3",
        "a\\",
        'a\\"',
        "ü 你好",
        " x ",
    ],
)
def test_any_prompt_survives_hydras_grammar(prompt: str) -> None:
    from strands_diffusers.config import compose
    from strands_diffusers.runner import sweep

    sweep.prepare()
    [override] = [f"{key}={verb._value(value, key)}" for key, value in verb._flat({"prompt": prompt})]
    assert compose.compose([override]).prompt == prompt


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"condition": "polcy"}, "policy"),
        ({"sampler": {"num_inference_steps": -1}}, "num_inference_steps"),
        ({"sampler.steps": 3}, "steps"),
        ({"seed": {"a": "b"}}, "seed"),
        ({"a b": 1}, "not a config key"),
        ({"seed": print}, "config value"),
        ({"overrides": [1]}, "list of strings"),
        ({"observation": "missing.mp4"}, "missing.mp4"),
        ({"condition": "policy", "observation": None}, "observation"),
    ],
)
def test_wrong_overrides_are_one_line_and_write_nothing(refused, artifacts: Path, parameters, message: str) -> None:
    assert message in refused("rollout", parameters={**FAST, **parameters})
    assert not artifacts.exists() or not list(artifacts.iterdir())


@pytest.mark.parametrize(
    "parameters",
    [
        {"observation": "/etc/hostname"},
        {"observation": "run:/etc"},
        {"observation": "file:///etc/hostname"},
        {"observation": "https://example.org/a.mp4"},
        {"observation": "sample:push_left@actions:/etc/hostname"},
        {"condition": "forward_dynamics", "condition.actions": "/etc/hostname"},
        {"model": "custom", "model.repo": "/etc"},
        {"model.lora.repo": "/etc"},
        {"output_dir": "/tmp/elsewhere"},
        {"source.https.allow": True},
        {"prompt": "${oc.env:HOME}"},
        {"hydra.run.dir": "/tmp"},
        {"overrides": ["hydra.searchpath=[file:///tmp]"]},
        {"overrides": ["+hydra/launcher=x"]},
        {"overrides": ["observation='/etc/hostname'"]},
        {"overrides": ["output_dir=/tmp/elsewhere"]},
    ],
)
def test_a_confined_caller_names_no_file_outside_of_its_roots(parameters, tmp_path: Path) -> None:
    reply = confined((tmp_path / "open",), **FAST, **parameters)
    assert reply["status"] == "error"
    assert reply["data"]["error"] == "AccessError", reply


def test_a_confined_caller_runs_the_embedded_model_and_files_below_its_roots(
    tmp_path: Path, film: Path, cosmos3: Path
) -> None:
    parameters = {
        **FAST, "model": "custom", "model.repo": str(cosmos3), "observation": str(film), "domain": "bridge", "prompt": "Move.",
        "condition.chunk_size": 4, "condition.resolution_tier": 256, "sampler.guidance_scale": 1,
    }  # fmt: skip
    assert confined((tmp_path, cosmos3), **parameters)["status"] == "success"
