"""Overrides become one checked RunConfig, or one line that says what to type instead."""

import contextlib
import dataclasses
import runpy
import typing
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.types import RunMode

from strands_diffusers.config import compose, conditions, engines, models, schema, store
from strands_diffusers.errors import ConfigError
from strands_diffusers.plugin import choices
from strands_diffusers.plugin.base import Metric
from strands_diffusers.plugin.manager import Registration, plugins

REFERENCE = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "make_reference.py"))


def test_the_default_is_a_policy_rollout_of_the_embedded_model_with_every_default_resolved():
    config = compose.compose([])

    assert config.model.name == "cosmos3_pusht"
    assert type(config.condition) is conditions.PolicyConditionConfig
    assert config.condition.chunk_size == 16
    assert config.sampler.num_inference_steps == config.model.recommended["policy"].num_inference_steps
    assert config.sampler.guidance_scale == config.model.recommended["policy"].guidance_scale


@pytest.mark.parametrize("mode", conditions.CONDITIONS)
def test_every_chosen_node_has_the_exact_class_of_its_choice(mode):
    config = compose.compose([f"condition={mode}", "prompt=push"])

    index = plugins()
    assert type(config) is schema.RunConfig
    assert type(config.condition) is conditions.CONDITIONS[mode]
    assert type(config.engine) is engines.AutoEngineConfig
    for group in ("output", "visualizer", "metric"):
        for name, node in getattr(config, group).items():
            assert type(node) is index.find(group, name).Config
    assert type(config.tracker) is index.find("tracker", "wandb").Config
    for scheme, node in config.source.items():
        assert type(node) is index.find("source", scheme).Config


def test_nano_takes_its_recommended_values_and_camera_pose_its_own_shift():
    nano = compose.compose(["model=cosmos3_nano", "domain=bridge", "prompt=push", "observation=a.png"])
    camera = compose.compose(["model=cosmos3_nano", "domain=camera_pose", "prompt=push", "observation=a.png"])
    image = compose.compose(["model=cosmos3_nano", "condition=text", "condition.num_frames=1", "prompt=push"])

    assert (nano.sampler.num_inference_steps, nano.sampler.guidance_scale, nano.sampler.flow_shift) == (30, 1.0, 10.0)
    assert camera.sampler.flow_shift == 5.0
    assert (image.sampler.num_inference_steps, image.sampler.guidance_scale, image.sampler.flow_shift) == (50, 4.0, 3.0)


def test_a_value_given_by_the_user_beats_the_recommended_one():
    assert compose.compose(["sampler.num_inference_steps=3"]).sampler.num_inference_steps == 3


def test_relative_paths_become_absolute_where_the_user_stands(tmp_path):
    (tmp_path / "weights").mkdir()
    overrides = ["model=custom", "model.repo=weights", "domain=pusht", "condition=forward_dynamics"]

    config = compose.compose([*overrides, "condition.actions=a.json"], cwd=tmp_path)

    assert config.model.repo == str(tmp_path / "weights")
    assert config.condition.actions == str(tmp_path / "a.json")


REFUSED = {
    "condition=polcy": r"condition=polcy is not a choice; there are .*Did you mean 'policy'\?",
    "domain=bridge_orig_lerobot": r"Use domain=bridge\.",
    "model=cosmos4": r"model=cosmos4 is not a choice; there are .*cosmos3_nano",
    "output=[audio]": r"output=audio is not a choice; there are .*sound",
    "sede=1": r"'sede' is not a config key\. Did you mean 'seed'\?",
    "seed=abc": r"seed=abc must be a whole number",
    "seed=-1": r"seed must be from 0",
    "model.dtype=half": r"model\.dtype=half is not allowed; use auto, float32, bfloat16, float16",
    "model.device=gpu": r"model\.device='gpu' is not a device\. Use auto, cpu, mps, cuda or cuda:N",
    "model.repo=elsewhere": r"use model=custom model\.repo=elsewhere",
    "sampler.num_inference_steps=-3": r"sampler\.num_inference_steps must be from 1 to 1,000 steps, got -3",
    "domain.fps=0": r"domain\.fps must be > 0 Hz, got 0",
    "condition.chunk_size=10": r"trained on chunks of 4 or 8 or 16 steps, not 10\. Use condition\.chunk_size=4 or 8 or 16\.",
    "condition.chunk_size=32": r"trained on chunks of 4 or 8 or 16 steps, not 32",
    "condition.resolution_tier=300": r"Use 256, 480, 704, 720 or null",
    "domain=av": r"trained on domain pusht only, not on av",
    "prompt=it's": r"""Quote the value for Hydra and for the shell: 'prompt="it'\\''s"'""",
    "prompt=a: b=c": r"""'prompt="a: b=c"'""",
    'prompt="   "': r"prompt holds only spaces",
    f"prompt={'a' * 100_000}": r"prompt has 100,000 characters; the limit is 20,000",
    "condition.actions=x.json": r"belongs to condition=forward_dynamics",
    "sweep.objective=psnr": r"Use metrics\.<name>\.<value>",
    "condition=text": r"condition=text needs a prompt",
    "observation=null": r"condition=policy needs an observation",
    "hello": r"Overrides are KEY=VALUE",
}


@pytest.mark.parametrize("override", REFUSED, ids=lambda o: o[:40])
def test_a_wrong_override_is_one_line_that_says_what_to_type(override):
    with pytest.raises(ConfigError, match=REFUSED[override]) as caught:
        compose.compose([override])

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("chunk", "instead"), [(10, "8 or 12"), (3, "4")])
def test_a_model_of_any_chunk_still_needs_a_multiple_of_four(chunk, instead):
    with pytest.raises(ConfigError, match=rf"chunk_size={chunk} is not a multiple of 4.*Use .*chunk_size={instead}\.$"):
        compose.compose(["model=cosmos3_nano", "domain=bridge", f"condition.chunk_size={chunk}"])


@pytest.mark.parametrize(
    ("mode", "output", "reason"),
    [
        ("forward_dynamics", "action", "there the action chunk is an input"),
        ("policy", "sound", "the action modes make no sound"),
        ("image", "action", "image gives video, sound"),
    ],
)
def test_an_output_that_the_mode_cannot_give_is_refused_with_the_reason(mode, output, reason):
    with pytest.raises(ConfigError, match=rf"output=\[{output}\] cannot come from condition={mode}: {reason}"):
        compose.compose([f"condition={mode}", f"output=[{output}]", "prompt=push"])


@pytest.mark.parametrize(
    "repo",
    [
        "nvidia/Cosmos3-Nano-Policy-DROID",
        "nvidia/Cosmos3-Edge-Policy-DROID",
        "someone/cosmos3-super-policy",
        "/models/models--nvidia--Cosmos3-Edge-Policy-LIBERO/snapshots/1",
        "/data/Cosmos3-Edge-Policy/",
        "/data/cosmos3_edge_policy_droid",
    ],
)
def test_no_policy_checkpoint_of_cosmos_3_is_a_drop_in(repo):
    overrides = ["model=custom", f"model.repo={repo}", "domain=droid", "prompt=push"]

    with pytest.raises(ConfigError, match=r"8 absolute joint positions.*Use model=cosmos3_nano domain=droid"):
        compose.compose(overrides)


EDGE = ["model=cosmos3_edge", "domain=bridge", "prompt=lift", "observation=a.png"]


def test_edge_is_pinned_to_a_commit_and_takes_the_recipe_that_came_with_it():
    image = compose.compose([*EDGE, "condition=image"])
    assert len(image.model.revision) == 40
    assert (image.sampler.num_inference_steps, image.sampler.guidance_scale, image.sampler.flow_shift) == (20, 6, 12)
    assert (image.condition.num_frames, image.condition.height, image.condition.width) == (121, 480, 832)
    assert compose.compose(EDGE).sampler.num_inference_steps == 30


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["domain=pusht"], "was trained on domain bridge, droid.* only, not on pusht"),
        (
            ["condition.resolution_tier=720"],
            r"tiers 256 and 480 only, not on 720\. Use condition\.resolution_tier=480 or",
        ),
        (["condition=image", "condition.sound=true"], r"makes no sound\. Use condition\.sound=false"),
        (
            ["condition=image", "condition.height=720", "condition.width=1280"],
            r"720x1280 pixels are more\. Use condition\.height=480 condition\.width=832",
        ),
        (["condition=text", "condition.height=1280"], "1280x832 pixels are more"),
        (["model.tiers=[300]"], r"model\.tiers: 300 is not a tier\. Use 256, 480, 704, 720 or null"),
    ],
)
def test_what_edge_was_not_trained_on_is_refused_with_what_it_was(overrides, line):
    with pytest.raises(ConfigError, match=line):
        compose.compose([*(word for word in EDGE if word[:7] != overrides[0][:7]), *overrides])


@pytest.mark.parametrize(
    "overrides", [["condition.resolution_tier=256"], ["condition=image", "condition.height=832", "condition.width=480"]]
)
def test_what_edge_was_trained_on_composes(overrides):
    compose.compose([*EDGE, *overrides])


@contextlib.contextmanager
def a_composer():
    with compose.application() as hydra:
        yield compose.Composer(lambda own: hydra.compose_config(compose.CONFIG_NAME, own, RunMode.RUN))


@pytest.mark.parametrize(
    "overrides",
    [
        ["seed=3", "sampler.guidance_scale=2"],
        ["condition=forward_dynamics", "seed=1", "condition.perturb=zero"],
        ["model=cosmos3_nano", "domain=bridge", 'prompt="Put, the pot: left."', "observation=a.png", "seed=2"],
        ["visualizer=[]", "output=[action]", "condition.chunk_size=null", "sampler={num_inference_steps:3}"],
        ["experiment=pusht_gallery_2", "seed=5", "output.video.crf=20"],
        [
            "model=custom",
            "model.repo=mine/one",
            "condition=policy",
            "domain=bridge",
            "observation=a.png",
            "prompt=Move.",
        ],
    ],
)
def test_a_sweeps_composer_gives_what_hydra_gives(overrides):
    with a_composer() as composer:
        assert composer.run_config(["seed=9"]).seed == 9
        assert composer.run_config(overrides) == compose.compose(overrides)
        assert composer.run_config(["seed=9"]).seed == 9
        assert composer.run_config(overrides) == compose.compose(overrides)


@pytest.mark.parametrize(
    "override", ["seed=abc", "sede=1", "condition.resolution_tier=3", "sampler.num_inference_steps=-1"]
)
def test_a_sweeps_composer_refuses_as_hydra_does(override):
    with pytest.raises(ConfigError) as theirs:
        compose.compose([override])
    with a_composer() as composer, pytest.raises(ConfigError) as ours:
        composer.run_config([override])
    assert str(ours.value) == str(theirs.value)


def test_a_further_request_of_a_process_composes_nothing_anew(monkeypatch):
    """Each one made Hydra's choices anew, and so forgot what was composed: a tenth of a second."""
    words = ["condition=inverse_dynamics", "visualizer=[]"]
    choices.prepare()
    compose.compose(words)
    monkeypatch.setattr(compose, "hydra_compose", lambda *_, **__: pytest.fail("composed anew"))

    choices.prepare()

    assert compose.compose([*words, "seed=7"]).seed == 7


def test_a_plugin_that_comes_later_is_a_choice_of_the_next_request(monkeypatch):
    class Late(Metric):
        """A metric."""

        name = "late"

    choices.prepare()
    with pytest.raises(ConfigError, match="metric=late is not a choice"):
        compose.compose(["metric=[late]"])
    mine = Registration("register_metrics", "metric", "late", "theirs", Late)
    monkeypatch.setattr(plugins(), "registrations", [*plugins().registrations, mine])

    choices.prepare()

    assert "late" in compose.compose(["metric=[late]"]).metric
    del ConfigStore.instance().repo["metric"]["late.yaml"]


def test_composing_works_inside_another_hydra_application_and_leaves_it_untouched(tmp_path):
    from hydra import compose as other_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    (tmp_path / "app.yaml").write_text("learning_rate: 0.1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        before = GlobalHydra.instance()
        assert compose.compose(["seed=7"]).seed == 7
        assert GlobalHydra.instance() is before
        assert other_compose("app").learning_rate == 0.1


def _dataclasses() -> list[type]:
    values = [value for module in (schema, conditions, engines, models) for value in vars(module).values()]
    found = list(dict.fromkeys(v for v in values if isinstance(v, type) and dataclasses.is_dataclass(v)))
    index = plugins()
    found += [
        c.Config for g in ("output", "visualizer", "metric", "tracker", "source") for c in index.classes(g).values()
    ]
    return found


@pytest.mark.parametrize("cls", _dataclasses(), ids=lambda c: c.__qualname__)
def test_every_config_field_says_what_it_is(cls):
    docs = REFERENCE["field_docs"](cls)
    assert (cls.__doc__ or "").strip()
    for item in dataclasses.fields(cls):
        assert docs.get(item.name), f"{cls.__qualname__}.{item.name} has no docstring"


def test_the_schema_resolves_its_types():
    assert typing.get_type_hints(schema.RunConfig)["seed"] is int


def test_the_config_folder_is_the_checkouts_own():
    assert store.conf_dir() == Path(__file__).parents[2] / "conf"


def test_nothing_of_one_call_is_left_for_the_next():
    first, tagged = compose.compose([]), compose.compose(["tracker=wandb"])
    with pytest.raises(ConfigError):
        compose.compose(["model.domains=[]"])
    compose.compose(["tracker=wandb", "tracker.tags=[a]"])
    changed = compose.compose(["model.chunk_sizes=[4,16]"], values={"prompt": "${seed}"})
    changed.metric["video"].moving_threshold = 99

    assert compose.compose(["tracker=wandb"]) == tagged
    assert compose.compose([]) == first
    assert changed.prompt == "${seed}"


def test_a_users_file_that_changed_is_read_again(tmp_path):
    (tmp_path / "experiment").mkdir()
    found = []
    for seed in (3, 4):
        (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\nseed: {seed}\n")
        found.append(compose.compose([f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine"]).seed)

    assert found == [3, 4]
