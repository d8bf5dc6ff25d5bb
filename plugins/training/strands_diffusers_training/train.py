"""Stage `train`: flow matching on the latents, and what is watched meanwhile.

Whatever is drawn in a step is a function of the seed, the rank and the step, and a checkpoint holds everything else: training
that is killed and started again makes the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from strands_diffusers import errors, read_json, write_mp4
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.pipelines import loader
from strands_diffusers.records import write_json, writing
from strands_diffusers_training import flow
from strands_diffusers_training.config import AdaptConfig
from strands_diffusers_training.encode import NO_ROOM, Windows
from strands_diffusers_training.flow import FORWARD, INVERSE, POLICY, Examples, Levels, Pair
from strands_diffusers_training.network import Batch, Layout, layout_of, predict
from strands_diffusers_training.optim import Optimizer, Schedule, Training
from strands_diffusers_training.parallel import Progress, Ranks
from strands_diffusers_training.parameters import TABLES, add_lora, everything, quiet
from strands_diffusers_training.plan import Plan, segments, trainable
from strands_diffusers_training.sampling import Captions, Sampler, Setting, setting_of

LATELY = 100
"""Passes of which the training loss is the mean."""

Watch = Callable[[int, Mapping[str, float], Mapping[str, Path]], None]
"""Told of every validation: step, numbers, files."""


@dataclass
class Adapted:
    """The model while it is trained: the pipeline whose transformer it is, and how it computes."""

    pipe: Any
    layout: Layout
    training: Training
    setting: Setting
    device: str
    dtype: torch.dtype
    base: dict[str, torch.Tensor]
    """What is trained, as it was before."""

    @torch.no_grad()
    def blend(self, share: float) -> None:
        """Move what is trained to this share of its way from `base`. Of a LoRA's two matrices one begins at zero: it alone."""
        for name, p in self.training.trained.items():
            if ".lora_A." not in name:
                p.copy_(self.base[name].lerp(p, share))

    @contextmanager
    def sampling(self) -> Iterator[Any]:
        """The pipeline as it samples, inside: averaged weights, and the action projections in the precision of the rest."""
        transformer = self.pipe.transformer
        tables = [transformer.get_submodule(name) for name in TABLES] if self.setting.lora else []
        with self.training.averaged():
            kept = [table.weight.data for table in tables]
            for table in tables:
                table.weight.data = table.weight.data.to(self.dtype)
            transformer.eval()
            try:
                yield self.pipe
            finally:
                transformer.train()
                for table, data in zip(tables, kept, strict=True):
                    table.weight.data = data

    def autocast(self) -> Any:
        """bfloat16 where the model's weights are."""
        kind = self.device.partition(":")[0]
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def predict(self, batch: Batch, checkpointing: bool = False) -> Pair:
        """The velocities of a batch, on its device."""
        with self.autocast():
            return predict(self.pipe.transformer, batch, self.layout, self.dtype, checkpointing)


def prepare(
    config: AdaptConfig, run: RunConfig, plan: Plan, out: Path, ranks: Ranks
) -> tuple[Adapted, dict[str, Any] | None]:
    """Load the model, free what is trained, and go on from the newest checkpoint. -> it, and the checkpoint."""
    model, _ = loader.load(trainable(run))
    transformer = model.pipe.transformer
    numbers = sum(p.numel() for p in transformer.parameters())
    setting, device, dtype = setting_of(config, run, numbers), model.device, next(transformer.parameters()).dtype
    train = config.train
    if not transformer.config.action_gen:  # of a checkpoint on the Hub nothing was known before
        raise errors.ModelError(f"{model.location} has no action projections: it was saved without actions.")
    matrices: list[torch.nn.Parameter] = []
    if setting.lora:
        others = add_lora(transformer, train.rank, train.alpha, config.seed)
    else:
        with quiet():
            transformer.float()
        matrices, others = everything(transformer)
    transformer.train()
    layout = layout_of(transformer.config, plan.latent, plan.chunk, plan.fps, plan.domain_id).to(device)
    optimizer = Optimizer(matrices, others, train.muon_lr, setting.lr, ranks=ranks)
    schedule = Schedule(train.steps, train.warmup, int(train.cooldown * train.steps))
    place = out / "train"
    with writing(place, NO_ROOM):
        place.mkdir(parents=True, exist_ok=True)
    training = Training(transformer, optimizer, schedule, place / "state.pt", train.ema, trained_only=True)
    base = {name: p.detach().clone() for name, p in training.trained.items()}
    state = training.resume()
    return Adapted(model.pipe, layout, training, setting, device, dtype, base), state


def check_settings(config: AdaptConfig, out: Path, finished: bool) -> None:
    """Keep what a training was begun with in `train/settings.json`. Raises: `ConfigError` where it goes on with something else.

    `steps` and `blend` may change of a training that is not `finished` (has no exported weights); what is only watched, always.
    """
    own = dataclasses.asdict(config.train) | {"what": config.train.what.value, "seed": config.seed}
    kept = {name: value for name, value in own.items() if name not in ("validate_every", "rollouts", "save_minutes")}
    path = out / "train" / "settings.json"
    before = read_json(path, str(path), errors.ConfigError) if path.is_file() else kept
    if not isinstance(before, dict):
        raise errors.ConfigError(f"{path} is damaged. Delete {path.parent} to train again.")
    changed = [name for name in kept if before.get(name) != kept[name] and (finished or name not in ("steps", "blend"))]
    if changed:
        was = ", ".join(f"{name} was {before.get(name)}" for name in changed)
        raise errors.ConfigError(
            f"{out} was trained with other settings: {was}. Choose another folder with out=DIR, or delete its train/, judge/ and export/."
        )
    with writing(path.parent, NO_ROOM):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, kept)


def train(
    config: AdaptConfig, run: RunConfig, plan: Plan, out: Path, ranks: Ranks, watch: Watch | None = None
) -> Adapted:
    """Train to the last step, from the newest checkpoint on. -> the trained model. Raises: `OutputError` for a full disk."""
    options, place = config.train, out / "train"
    adapted, state = prepare(config, run, plan, out, ranks)
    training, device = adapted.training, adapted.device
    captions = Captions(adapted.pipe, plan)
    action_dim = adapted.pipe.transformer.config.action_dim
    sampler = Sampler(config, adapted.setting, Windows(plan, out, held_out=False), captions, action_dim)
    frame_levels, action_levels = Levels(device), Levels(device)
    carried: Examples | None = None
    if state is not None and len(state["ranks"]) == ranks.world:
        mine = state["ranks"][ranks.rank]
        for levels, kept in ((frame_levels, mine["frame"]), (action_levels, mine["action"])):
            levels.total, levels.count = (x.to(device) for x in kept)
        carried = mine["carried"] and mine["carried"].to(device)
    validation = Validation(config, run, plan, out, adapted, captions, action_dim) if ranks.first else None
    progress = Progress("train", options.steps - training.step, ranks, every_s=20, log=place / "train.log")
    first, saved = training.step, time.monotonic()
    recent: list[tuple[float, float]] = []

    def save() -> None:
        facts = {
            "frame": (frame_levels.total, frame_levels.count),
            "action": (action_levels.total, action_levels.count),
            "carried": carried and carried.to("cpu"),
        }
        gathered = ranks.gather(facts)
        if ranks.first:
            with writing(place, NO_ROOM):
                try:
                    training.save(ranks=gathered)
                except RuntimeError as error:  # torch's own writer says so of a full disk
                    raise OSError(errors.one_line(error, 120)) from error

    while training.goes_on():
        training.optimizer.zero_grad()
        for part in range(options.accumulate):
            count = options.batch - (len(carried.modes) if carried else 0)
            examples = _joined(sampler.draw(count, [ranks.rank, training.step, part]).to(device), carried)
            predicted = adapted.predict(examples.batch, options.checkpointing)
            error, action_error = flow.errors(examples.batch, predicted, examples.targets, width=plan.width)
            vision = frame_levels.relative(error, examples.modes, examples.batch.sigma_B)
            act = action_levels.relative(action_error, examples.modes, examples.batch.sigma_B)
            generator = torch.Generator().manual_seed(hash((config.seed, ranks.rank, training.step, part)) % 2**63)
            carried = flow.carry(examples, predicted, adapted.setting.carried, generator)
            loss = (vision + options.action_weight * act) / options.accumulate
            if not torch.isfinite(loss):
                raise errors.RolloutError(
                    f"the loss is {float(loss)} at step {training.step}: the weights went astray. Delete {place} and type a "
                    f"smaller train.lr= (it was {adapted.setting.lr:g})."
                )
            loss.backward()
            recent.append((float(error.detach().mean()), float(action_error.detach().mean())))
        ranks.mean_gradients(training.optimizer.parameters)
        training.advance()
        video, action = np.mean(recent[-LATELY:], 0).tolist()
        values = {"train/video": video, "train/action": action}
        if validation and options.validate_every and training.step % options.validate_every == 0:
            values, files = validation(training.step, values)
            if watch:
                watch(training.step, values, files)
        rate = (
            (training.step - first)
            * options.batch
            * options.accumulate
            * ranks.world
            / (time.monotonic() - progress.begin)
        )
        shown = " ".join(f"{name} {value:.4f}" for name, value in values.items())
        progress.line(training.step - first, f"step {training.step}, {rate:.2f} samples/s, {shown}")
        if ranks.agree(float(time.monotonic() - saved > 60 * options.save_minutes)):
            save()
            saved = time.monotonic()
    save()
    adapted.pipe.transformer.eval()
    return adapted


def _joined(fresh: Examples, carried: Examples | None) -> Examples:
    """Both, each with its own prompts."""
    if carried is None:
        return fresh
    length = max(fresh.batch.ids_PL.shape[1], carried.batch.ids_PL.shape[1])
    count = len(fresh.batch.length_P)
    for examples in (fresh, carried):
        ids = examples.batch.ids_PL
        examples.batch.ids_PL = torch.nn.functional.pad(ids, (0, length - ids.shape[1]))
    together = (
        torch.cat([fresh.batch.ids_PL, carried.batch.ids_PL]),
        torch.cat([fresh.batch.length_P, carried.batch.length_P]),
    )
    carried.batch.prompt_B = carried.batch.prompt_B + count
    joined = fresh + carried
    used, which = joined.batch.prompt_B.unique(return_inverse=True)  # prompts of samples that are gone
    joined.batch.ids_PL, joined.batch.length_P, joined.batch.prompt_B = together[0][used], together[1][used], which
    return joined


class Validation:
    """Losses on fixed held-out windows, and small rollouts of them."""

    def __init__(
        self,
        config: AdaptConfig,
        run: RunConfig,
        plan: Plan,
        out: Path,
        adapted: Adapted,
        captions: Captions,
        action_dim: int,
    ) -> None:
        self.config, self.run, self.plan, self.out, self.adapted = config, run, plan, out, adapted
        held_out = Windows(plan, out, held_out=True)
        sampler = Sampler(config, adapted.setting, held_out, captions, action_dim)
        size = min(16, config.train.batch)
        modes = [mode for mode, weight in enumerate(adapted.setting.weights) if weight]
        self.batches = [(mode, sampler.draw(size, [-mode - 1 + 2**31], mode, mode != POLICY)) for mode in modes]

    @torch.no_grad()
    def __call__(self, step: int, values: dict[str, float]) -> tuple[dict[str, float], dict[str, Path]]:
        """The values with those of the averaged weights, and files; the numbers are appended to `train/curve.jsonl`."""
        files: dict[str, Path] = {}
        with self.adapted.training.averaged():
            for mode, examples in self.batches:
                name, there = flow.MODES[mode], examples.to(self.adapted.device)
                predicted = self.adapted.predict(there.batch)
                error, action_error = flow.errors(there.batch, predicted, there.targets, width=self.plan.width)
                if mode != INVERSE:
                    values[f"held_out/{name}/video"] = float(error.mean())
                if mode != FORWARD:
                    values[f"held_out/{name}/action"] = float(action_error.mean())
        if self.config.train.rollouts:
            with self.adapted.sampling() as pipe:
                files = self._rollouts(pipe, step)
        with (self.out / "train" / "curve.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "time": time.time(), **values}) + "\n")
        return values, files

    def _rollouts(self, pipe: Any, step: int) -> dict[str, Path]:
        """Held-out windows beside what forward dynamics makes of them, one video each."""
        from strands_diffusers.pipelines import canvas
        from strands_diffusers.pipelines.engine.eager import EagerEngine
        from strands_diffusers.plugin.engine import Call

        plan, place = self.plan, self.out / "train" / "rollouts"
        preset: Any = self.run.model.recommended.get("forward_dynamics")
        files = {}
        held = [number for number, episode in enumerate(plan.episodes) if episode.held_out]
        for number in held[: self.config.train.rollouts]:
            episode = plan.episodes[number]
            _, frames, acted = next(segments(plan, episode, self.run))
            from diffusers import CosmosActionCondition

            action = CosmosActionCondition(
                mode="forward_dynamics",
                chunk_size=plan.chunk,
                domain_name=plan.domain,
                resolution_tier=plan.tier,
                raw_actions=torch.from_numpy(acted.copy()),
                view_point=plan.view_point,
                image=canvas.to_pil(frames[:1])[0],
            )
            steps = (preset.num_inference_steps if preset else None) or 8
            arguments = {
                "prompt": episode.task, "action": action, "fps": plan.fps, "use_system_prompt": False,
                "num_inference_steps": steps, "guidance_scale": 1.0,
            }  # fmt: skip
            sample = EagerEngine().run(pipe, Call(arguments, frozenset({"video"}), (self.config.seed,)))[0]
            if sample.video is None:
                continue
            fitted = canvas.canvas_for(*plan.frame, plan.tier, int(pipe.vae_scale_factor_spatial))
            true = canvas.transform(frames, pipe, fitted)
            place.mkdir(parents=True, exist_ok=True)
            path = place / f"{step:07d}_{number:06d}.mp4"
            write_mp4(path, np.concatenate([true, sample.video], axis=2), plan.fps)
            files[f"rollouts/forward_dynamics/{number}"] = path
        return files
