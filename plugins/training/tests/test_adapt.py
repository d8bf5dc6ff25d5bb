"""From a dataset to weights that load: encode, train, export."""

import json
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from strands_diffusers_training import encode as encoding
from strands_diffusers_training.command import adapt
from strands_diffusers_training.config import parse
from strands_diffusers_training.export import export, rendering, write_weights
from strands_diffusers_training.parallel import Ranks
from strands_diffusers_training.parameters import TABLES
from strands_diffusers_training.plan import read_plan, run_config, segments
from strands_diffusers_training.sampling import Captions, Sampler
from strands_diffusers_training.train import check_settings, train

from strands_diffusers import errors
from strands_diffusers.config import compose
from strands_diffusers.pipelines import loader

pytestmark = pytest.mark.timeout(300)
SMALL = [
    "train.batch=4",
    "train.carried=0.5",
    "train.validate_every=0",
    "train.rank=4",
    "train.warmup=1",
    "train.ema=0.5",
]


@pytest.fixture
def work(encoded, tmp_path):
    """A copy of the folder with the latents."""
    return shutil.copytree(encoded, tmp_path / "out")


@pytest.fixture(autouse=True)
def _fresh_models():
    loader.clear()  # training changes the model that is warm
    yield
    loader.clear()


def trained(work, square, tiny, *arguments, watch=None):
    chosen = dict(argument.split("=", 1) for argument in (*SMALL, *arguments))
    settings = [f"{key}={value}" for key, value in chosen.items()]
    config, rest = parse([f"data={square}", "name=my_square", f"out={work}", *settings, *tiny])
    run, plan = run_config(rest), read_plan(work)
    return train(config, run, plan, work, Ranks(), watch), run, plan


def test_latents_are_those_that_the_pipeline_makes_of_a_clip(encoded, tiny):
    from diffusers import CosmosActionCondition

    from strands_diffusers.pipelines.canvas import to_pil

    plan, run = read_plan(encoded), run_config(list(tiny))
    start, frames, actions = list(segments(plan, plan.episodes[2], run))[1]
    assert start == 2
    action = CosmosActionCondition(
        mode="inverse_dynamics", chunk_size=4, domain_name="pusht", resolution_tier=plan.tier, video=to_pil(frames)
    )
    pipe = loader.load(run.model)[0].pipe
    with torch.no_grad():
        expected = pipe.prepare_latents(action=action, num_frames=5, device="cpu", dtype=torch.float32)[0]
    latent = np.load(encoding.folder(encoded, 2) / "latent.npy")
    first = np.load(encoding.folder(encoded, 0) / "latent.npy")[0]
    shown = next(segments(plan, plan.episodes[0], run))[1]
    assert encoding.rendering_db(pipe, plan, shown, first) == pytest.approx(rendering(encoded), abs=0.01)
    np.testing.assert_allclose(latent[1], expected[0].numpy(), atol=2e-3)
    np.testing.assert_array_equal(np.load(encoding.folder(encoded, 2) / "action.npy")[1], actions)


def test_a_full_disk_is_one_line_and_what_was_encoded_stays(work, square, tiny):
    shutil.rmtree(encoding.folder(work, 1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    _, rest = parse([f"data={square}", "name=my_square", f"out={work}", *tiny])
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
        with pytest.raises(errors.OutputError, match=r"cannot write to .*type the same command"):
            encoding.encode(read_plan(work), run_config(rest), work, Ranks())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert encoding.left(read_plan(work), work) == [1]


def test_a_disk_that_fills_while_it_trains_is_one_line_and_the_last_checkpoint_stays(work, square, tiny):
    arguments = ["train.what=lora", "train.save_minutes=0", "train.steps=2"]
    trained(work, square, tiny, *arguments)
    before = (work / "train" / "state_cooled.pt").read_bytes()
    loader.clear()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        with pytest.raises(errors.OutputError, match=r"cannot write to .*train: .*type the same command") as full:
            trained(work, square, tiny, *arguments[:2], "train.steps=3")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(full.value)
    assert (work / "train" / "state_cooled.pt").read_bytes() == before


@pytest.mark.parametrize("what", ["lora", "all"])
def test_training_that_is_cut_off_and_goes_on_makes_the_same_weights_bit_for_bit(work, square, tiny, tmp_path, what):
    arguments = [
        f"train.what={what}",
        "train.steps=6",
        "train.validate_every=2",
        "train.rollouts=0",
        "train.save_minutes=0",
    ]
    other = shutil.copytree(work, tmp_path / "other")
    whole, _, _ = trained(work, square, tiny, *arguments)
    expected = {name: value.clone() for name, value in whole.training.average.items()}
    loader.clear()

    def cut(step, values, files):
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(other, square, tiny, *arguments, watch=cut)
    loader.clear()
    resumed, _, _ = trained(other, square, tiny, *arguments)
    assert resumed.training.step == 6
    for name, value in resumed.training.average.items():
        assert torch.equal(value, expected[name]), name


def test_a_lora_learns_and_changes_the_projections_of_its_domain_alone(work, square, tiny):
    base = {
        name: p.clone() for name, p in loader.load(run_config(list(tiny)).model)[0].pipe.transformer.named_parameters()
    }
    loader.clear()
    losses = {}
    for steps in (1, 30):
        shutil.rmtree(work / "train", ignore_errors=True)
        adapted, _, plan = trained(
            work, square, tiny, "train.what=lora", f"train.steps={steps}", "train.lr=0.01", "train.carried=0"
        )
        windows = encoding.Windows(plan, work, held_out=False)
        config = parse([f"data={square}", "name=my_square", *tiny])[0]
        from strands_diffusers_training import flow

        captions = Captions(adapted.pipe, plan)
        drawn = Sampler(config, adapted.setting, windows, captions, 64).draw(16, [9], mode=flow.POLICY)
        with torch.no_grad(), adapted.training.averaged():
            predicted = adapted.predict(drawn.batch)
        losses[steps] = [float(e.mean()) for e in flow.errors(drawn.batch, predicted, drawn.targets, width=2)]
        if steps == 1:
            loader.clear()
    assert losses[30][0] < 0.9 * losses[1][0]
    assert losses[30][1] < 0.7 * losses[1][1]
    transformer = adapted.pipe.transformer
    for table in TABLES:
        before, after = base[f"{table}.weight"], transformer.get_submodule(table).weight
        others = [row for row in range(32) if row != plan.domain_id]
        assert torch.equal(after[others], before[others])
        assert not torch.equal(after[plan.domain_id], before[plan.domain_id])
    kept = {name.replace(".base_layer", ""): p for name, p in transformer.named_parameters() if "lora" not in name}
    for name, p in base.items():
        if not name.startswith("action_proj"):
            assert torch.equal(kept[name], p), name


def test_what_is_exported_is_the_trained_model_in_plain_diffusers_and_as_a_choice(work, square, tiny):
    adapted, run, plan = trained(work, square, tiny, "train.what=lora", "train.steps=3", "train.lr=0.01")
    write_weights(adapted, plan, work)
    from diffusers import Cosmos3OmniTransformer
    from safetensors.torch import load_file

    plain = Cosmos3OmniTransformer.from_pretrained(run.model.repo, subfolder="transformer")
    plain.load_lora_adapter(work / "export" / "weights", prefix=None, weight_name="pytorch_lora_weights.safetensors")
    for name, row in load_file(work / "export" / "weights" / "action_heads.safetensors").items():
        plain.get_submodule(name).weight.data[plan.domain_id : plan.domain_id + 1] = row
    own = {n.replace(".adapt.", "."): p for n, p in adapted.training.average.items()}
    loaded = {n.replace(".default_0.", "."): p for n, p in plain.named_parameters()}
    for name, p in own.items():
        torch.testing.assert_close(loaded[name], p, rtol=0, atol=0, msg=name)

    config = parse([f"data={square}", "name=my_square"])[0]
    card = (export(config, run, plan, work, "strands-diffusers adapt ...") / "README.md").read_text()
    held_out = next(each.address for each in plan.episodes if each.held_out)
    assert f"Held out, never trained on**: `{held_out}`" in card
    assert "It was not judged." in card
    loader.clear()
    composed = compose.compose(
        [
            f"hydra.searchpath=[file://{work}/export]",
            "model=my_square",
            "domain=my_square",
            "condition=inverse_dynamics",
        ]
    )
    assert composed.domain.chunk_size == 4
    assert composed.domain.statistics == str(work / "export" / "statistics" / "my_square.json")
    assert Path(composed.domain.statistics).read_bytes() == Path(plan.space.statistics).read_bytes()
    transformer = loader.load(composed.model)[0].pipe.transformer
    chosen = {n.replace(".strands.", "."): p for n, p in transformer.named_parameters()}
    for name, p in own.items():
        torch.testing.assert_close(chosen[name], p, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("what", ["lora", "all"])
def test_blended_weights_lie_on_the_way_from_the_models_own_to_the_trained_ones(work, square, tiny, what):
    adapted, _, plan = trained(work, square, tiny, f"train.what={what}", "train.steps=3", "train.lr=0.01")
    base = adapted.base
    after = {name: value.clone() for name, value in adapted.training.average.items()}
    with adapted.training.averaged():
        adapted.blend(0.25)
        moved = 0
        for name, p in adapted.training.trained.items():
            if ".lora_A." in name:
                assert torch.equal(p, after[name]), name  # the product of both is a quarter as strong
                continue
            torch.testing.assert_close(p.detach(), 0.75 * base[name] + 0.25 * after[name], msg=name)
            moved += not torch.equal(p, base[name])
    assert moved
    if what == "lora":
        row = plan.domain_id
        table = adapted.training.average[f"{TABLES[0]}.weight"]
        assert torch.equal(table[row - 1], base[f"{TABLES[0]}.weight"][row - 1])


def test_weights_that_were_exported_are_not_blended_otherwise_without_a_word(tmp_path):
    for blend, finished in ((1.0, False), (0.5, False)):
        check_settings(parse(["data=x", "name=a", f"train.blend={blend}"])[0], tmp_path, finished)
    with pytest.raises(errors.ConfigError, match=r"blend was 0\.5.*delete its"):
        check_settings(parse(["data=x", "name=a", "train.blend=1"])[0], tmp_path, finished=True)


def test_a_validation_leaves_its_numbers_and_a_video_of_a_held_out_window(work, square, tiny):
    seen = []
    trained(
        work, square, tiny, "train.steps=2", "train.validate_every=2", "train.what=lora",
        watch=lambda step, values, files: seen.append((step, values, files)),
    )  # fmt: skip
    ((step, values, files),) = seen
    assert step == 2
    assert {
        "train/video",
        "held_out/forward_dynamics/video",
        "held_out/inverse_dynamics/action",
        "held_out/policy/action",
    } <= set(values)
    assert json.loads((work / "train" / "curve.jsonl").read_text())["step"] == 2
    (path,) = files.values()
    assert path.stat().st_size > 500


def test_other_settings_do_not_go_on_with_a_training_that_was_begun_otherwise(tmp_path):
    config = parse(["data=x", "name=my_square", "train.steps=4", "train.rank=8"])[0]
    check_settings(config, tmp_path, finished=False)
    longer = parse(["data=x", "name=my_square", "train.steps=9", "train.rank=8", "train.validate_every=7"])[0]
    check_settings(longer, tmp_path, finished=False)
    with pytest.raises(errors.ConfigError, match="trained with other settings: steps was 9"):
        check_settings(config, tmp_path, finished=True)
    with pytest.raises(errors.ConfigError, match="trained with other settings: rank was 8"):
        check_settings(parse(["data=x", "name=my_square", "train.rank=16"])[0], tmp_path, finished=False)


def test_help_and_a_stage_that_is_done_do_nothing_twice(work, square, tiny, capsys):
    assert adapt(["--help"]) == 0
    assert "data=DATASET" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*.npy")}
    assert adapt([f"data={square}", "name=my_square", f"out={work}", "until=encode", *tiny]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in work.rglob("*.npy")}
