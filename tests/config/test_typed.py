"""What a user types stays what it is, and the commonest slips are answered with the corrected line."""

import pytest

from strands_diffusers.config import compose, typed
from strands_diffusers.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("output_dir=2026_11_27", "output_dir", "2026_11_27"),
        ("output_dir=1e5", "output_dir", "1e5"),
        ("output_dir=true", "output_dir", "true"),
        ("prompt=007", "prompt", "007"),
        ("model.revision=0123", "revision", "0123"),
        ("observation=ünï.png", "observation", "ünï.png"),
        ("output_dir=out/ünï (1)", "output_dir", "out/ünï (1)"),
        (r"prompt=Push\ the\ T", "prompt", "Push the T"),
        ("prompt=Push the T.", "prompt", "Push the T."),
    ],
)
def test_a_text_key_holds_what_was_typed(override, key, value, tmp_path):
    model = ["model=cosmos3_nano", "domain=bridge"] if key == "revision" else []
    config = compose.compose([*model, override], tmp_path)

    found = config.model.revision if key == "revision" else getattr(config, key)
    assert found == (str(tmp_path / value) if key == "output_dir" else value)


def test_every_key_that_names_a_file_takes_a_path_as_typed_and_makes_it_absolute(tmp_path):
    """`sweep.true_scores` was in neither of the two lists of such keys."""
    (tmp_path / "zïel.png").touch()
    goal = ["condition=closed_loop", "score=[goal_image]", "score.goal_image.goal=zïel.png@frame:-1"]
    loop = compose.compose([*goal, "policy=replay", "policy.actions=ünï.json", "resume=last"], tmp_path)
    config = compose.compose(["sweep.true_scores=wahr/ünï.csv", "domain.statistics=./stäts.json"], tmp_path)

    assert loop.score["goal_image"].goal == f"{tmp_path / 'zïel.png'}@frame:-1"
    assert loop.policy.actions == str(tmp_path / "ünï.json")
    assert loop.resume == "last"
    assert config.sweep.true_scores == str(tmp_path / "wahr" / "ünï.csv")
    assert config.domain.statistics == str(tmp_path / "stäts.json")
    assert config.model.repo == "asset:cosmos3_pusht"


@pytest.mark.parametrize(
    ("typed_list", "words"),
    [
        ("[2026_11_27, 007,1e5]", ["2026_11_27", "007", "1e5"]),
        ("[true,second try]", ["true", "second try"]),
        ("['a,b',\"c\"]", ["a,b", "c"]),
        ("[]", []),
    ],
)
def test_the_words_of_a_list_are_what_was_typed(typed_list, words):
    assert compose.compose(["tracker=wandb", f"tracker.tags={typed_list}"]).tracker.tags == words


def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert compose.compose(["output_dir=~/x"]).output_dir == str(tmp_path / "x")


CUSTOM = ("model=custom", "model.repo=somebody/world", "domain=bridge")


@pytest.mark.parametrize("sign", ["", "+"])
def test_a_model_of_ones_own_is_given_recommended_values_on_the_command_line(sign):
    config = compose.compose(
        [*CUSTOM, f"{sign}model.recommended={{policy:{{num_inference_steps:8,guidance_scale:2}}}}"]
    )

    assert (config.sampler.num_inference_steps, config.sampler.guidance_scale) == (8, 2.0)


REFUSED = {
    ("prompt=Push", "the", "T", "block"): "'prompt=\"Push the T block\"'",
    ("prompt=Pick up the cup, then pour",): "'prompt=\"Pick up the cup, then pour\"'",
    (
        "condition=text",
        "condition.negative_prompt=blurry, low quality",
    ): "'condition.negative_prompt=\"blurry, low quality\"'",
    ("tracker.notes=first,second",): "'tracker.notes=\"first,second\"'",
    ("prompt=[push,left]",): "'prompt=\"push,left\"'",
    ("observation=[a,b]",): "must be text",
    ('prompt="Pick up ${item}"',): r"'prompt=\"Pick up \\\$\{item\}\"'",
    ("prompt=${bogus}",): "stands for another value",
    ("seed=1", "seed=2"): "seed is given twice",
    ("++bogus=1",): "nothing reads such a key",
    ("+seed=1",): "without the plus",
    ("--seed=3",): r"overrides have no dashes\. Type seed=3",
    ("seed=",): r"seed=\(nothing\) must be a whole number",
    ("output_dir=",): "output_dir is empty",
    ("seed=-1",): "from 0 to 9,223,372,036,854,775,807, got -1. Type seed=1",
    ("sampler.guidance_scale=inf",): "got inf",
    ("sampler.flow_shift=nan",): "got nan",
    ("condition.num_chunks=99999999999",): "from 1 to 10,000",
    ("engine.cache_mb=-1",): "engine.cache_mb must be from 0",
    ("domain.fps=inf",): "domain.fps must be > 0 Hz, got inf",
    (
        "model.recommended.policy.num_inference_steps=-5",
    ): r"model\.recommended\.policy\.num_inference_steps must be from 1",
    ("model.recommended.policy.height=-1",): r"model\.recommended\.policy\.height must be from 16",
    ("model.recommended.policy.fps=0",): r"model\.recommended\.policy\.fps must be > 0",
    ("model.chunk_sizes=[]",): "Use model.chunk_sizes=null",
    ("model.domains=[]",): "Use model.domains=null",
    ("model.lora.scale=inf",): "model.lora.scale must be from 0 to 100",
    ("model=custom", "model.repo=somebody/world"): "Add domain=NAME",
    ("hydra/sweeper=optuna",): "pip install hydra-optuna-sweeper",
    ("hydra/launcher=joblib",): "pip install hydra-joblib-launcher",
    ("model.recommended=5",): "is not of the kind that model.recommended holds",
    (
        *CUSTOM,
        "model.recommended.policy.guidance_scale=2",
    ): r"Type 'model\.recommended=\{policy:\{guidance_scale:2\}\}'",
    (
        *CUSTOM,
        "+model.recommended.policy={flow_shift:2}",
    ): r"Type 'model\.recommended=\{policy:\{flow_shift:2\}\}'",
}


@pytest.mark.parametrize("overrides", REFUSED, ids=lambda o: " ".join(o)[:40])
def test_a_slip_is_one_line_with_what_to_type(overrides):
    with pytest.raises(ConfigError, match=REFUSED[overrides]) as caught:
        compose.compose(list(overrides))

    assert "\n" not in str(caught.value)


def test_a_prompt_with_a_comma_is_not_two_jobs_by_accident():
    with pytest.raises(ConfigError, match=r'for several: \'prompt="Pick up the cup","then pour"\''):
        typed.as_typed(["prompt=Pick up the cup, then pour"], multirun=True)

    with pytest.raises(ConfigError, match=r'for several: \'condition.negative_prompt="blurry","low quality"\''):
        typed.as_typed(["condition.negative_prompt=blurry, low quality"], multirun=True)
    assert typed.as_typed(["model.variant=fp16,bf16"], multirun=True) == ['model.variant="fp16","bf16"']
    assert typed.as_typed(['prompt="Push left.","Push right."'], multirun=True) == ['prompt="Push left.","Push right."']
    assert typed.as_typed(["output_dir=2026_1,2026_2"], multirun=True) == ['output_dir="2026_1","2026_2"']
    paths = ["observation=ünï.png", "output_dir=out/ünï"]
    assert typed.as_typed(paths, multirun=True) == ['observation="ünï.png"', 'output_dir="out/ünï"']


LITERAL = [
    "say ${oc.env:HOME}",
    r"say \${seed}",
    "$\\{oc.env:HOME\\}",
    "${seed}",
    "a, b",
    "[x]",
    "str(a)",
    "null",
    "'q\"",
    "true",
]


@pytest.mark.parametrize("text", LITERAL)
def test_a_callers_values_are_literal(text, monkeypatch):
    monkeypatch.setenv("HOME", "/canary")
    config = compose.compose(values={"prompt": text, "sampler": {"num_inference_steps": 3}, "seed": "4"})

    assert config.prompt == text
    assert (config.sampler.num_inference_steps, config.seed) == (3, 4)
    assert compose.to_tree(config)["prompt"] == text


@pytest.mark.parametrize(
    "values",
    [
        {"bogus": 1}, {"hydra.run.dir": "/x"}, {"hydra": {"run": {"dir": "/x"}}}, {"model": "a b"}, {"model": {"x": 1}},
        {"prompt": ["a"]}, {"prompt": {"a": 1}}, {"seed": [1]}, {"seed": {"a": 1}}, {"+seed": 1}, {"seed=1,": 2}, {1: 2},
        {"output": ["video", 3]}, {"model": "${oc.env:HOME}"}, {"condition": "str(policy)"}, {"seed": "${seed}"},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_values_are_one_line(values):
    with pytest.raises(ConfigError) as caught:
        compose.compose(values=values)

    assert "\n" not in str(caught.value)
    assert "/root" not in str(caught.value)
    assert "\ufdd0" not in str(caught.value), "what hides ${ from OmegaConf is nobody's to see"


@pytest.mark.parametrize("letter", ["\x00", "\ud800"])
@pytest.mark.parametrize("key", ["prompt", "observation", "output_dir"])
def test_characters_that_no_text_holds_are_refused(key, letter):
    with pytest.raises(ConfigError, match=rf"{key} holds the character U\+"):
        compose.compose(values={key: f"a{letter}b"})


@pytest.mark.parametrize("value", ["[1]", "[null]", "[action,nan]", "[true,video]", "[ 2.5 ]", "[video,INF,action]"])
def test_a_choice_that_is_no_word_is_named(value):
    with pytest.raises(ConfigError, match=r"is no choice of metric\. See strands-diffusers plugins"):
        compose.compose([f"metric={value}"])
