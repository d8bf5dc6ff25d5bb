"""`strands-diffusers adapt`: the stages in order, each where it is not done yet."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strands_diffusers import RunInfo, errors, plugins
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.records import Record
from strands_diffusers.runner import folders, tracking
from strands_diffusers_training.config import STAGES, AdaptConfig, parse
from strands_diffusers_training.parallel import Ranks, launch

HELP = """usage: strands-diffusers adapt data=DATASET name=NAME [KEY=VALUE ...]

Adapt a Cosmos 3 world model to a dataset of robot episodes. docs/adapt.md tells the whole way.

  data=lerobot:DIR@actions:COLUMNS@units:physical   a LeRobot dataset (v3 or v2); data=run:DIR a sweep's rollouts
  name=my_robot          what the new model and domain are called
  model=cosmos3_nano domain=bridge                  what is adapted, and the embodiment; any key of the run config
  out=DIR                folder of everything; the same command goes on there (default adapted/NAME)
  train.steps=2000 train.batch=8 train.what=lora    how it is trained; judge.windows=8 how it is judged
  until=check            stop after a stage: check, encode, train, judge, export

Several GPUs: accelerate launch -m strands_diffusers adapt ... ; several CPU cores: procs=2.
"""


SHARED = {"encode": 1, "train": 2}
"""Stages that all processes share, by the number that stands for them in a sum."""

REFUSED = 4
"""In its place: there is no plan."""


def adapt(arguments: list[str]) -> int:
    """Run every stage that is not done. -> exit status. Raises: a `StrandsDiffusersError` of one line."""
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(HELP)
        return 0 if arguments else 2
    config, overrides = parse(arguments)
    out = Path(config.out or f"adapted/{config.name}").expanduser().absolute()
    ranks = Ranks.of_this_process()
    command = shlex.join(["strands-diffusers", "adapt", *arguments])
    if ranks is None or ranks.first:
        with folders.claimed(out, "adapt"):
            return _run(config, overrides, out, command, ranks)
    return _follow(config, overrides, out, ranks)


def _run(config: AdaptConfig, overrides: list[str], out: Path, command: str, ranks: Ranks | None) -> int:
    from strands_diffusers_training import encode, export, judge, plan, train

    run = plan.run_config(overrides)
    last = STAGES.index(config.until)
    began = time.monotonic()
    todo = [REFUSED]
    try:
        found = plan.check(config, run, out)
        if config.train.blend < 1 and found.space != run.space:
            raise errors.ConfigError(
                f"train.blend={config.train.blend:g} would mix two meanings of the actions: the statistics are the dataset's own "
                "(statistics=own), and the model's own weights speak of others. Leave train.blend out."
            )
        todo = _todo(last, found, out)
    finally:
        if ranks:
            ranks.agree(float(sum(todo)))  # the others wait for a plan
    _say_plan(config, run, found, out)
    if last >= STAGES.index("train"):
        train.check_settings(config, out, finished=export.weights_folder(out).exists())
    for name, number in SHARED.items():
        if number in todo:
            _each(ranks, name, config, overrides, out)
    if last >= 1 and export.rendering(out) < encode.POOR_DB:
        say(
            f"the autoencoder renders the dataset's first window with {export.rendering(out):.1f} dB: what it cannot show, the model "
            "cannot learn, for adapt does not train it. A larger model= knows more scenes."
        )
    if last >= 3 and config.judge.windows and not judge.is_done(config, run, found, out):
        export.free()
        judge.judge(config, run, found, out, say)
    if last >= 4:
        folder = export.export(config, run, found, out, command)
        say(
            f"{folder}: strands-diffusers --config-dir {shlex.quote(str(folder))} model={config.name} domain={config.name} ..."
        )
        say(f"what it is and how good: {folder / 'README.md'}")
    say(f"{config.until} done in {(time.monotonic() - began) / 60:.1f} min")
    return 0


def _follow(config: AdaptConfig, overrides: list[str], out: Path, ranks: Ranks) -> int:
    """What the other processes of an `accelerate launch` do: their share of encoding and training."""
    from strands_diffusers_training.plan import run_config

    run_config(overrides)
    todo = int(ranks.agree(0.0))
    if todo & REFUSED:
        return 2
    for name, number in SHARED.items():
        if todo & number:
            stage(name, config, overrides, out, ranks)
    return 0


def _todo(last: int, found: Any, out: Path) -> list[int]:
    """The shared stages that are not done."""
    from strands_diffusers_training import encode, export

    missing = {"encode": bool(encode.left(found, out)), "train": not export.weights_folder(out).exists()}
    return [number for name, number in SHARED.items() if last >= STAGES.index(name) and missing[name]]


def _each(ranks: Ranks | None, name: str, config: AdaptConfig, overrides: list[str], out: Path) -> None:
    """Run a stage in every process: those of `accelerate launch`, or `procs` of our own on this machine."""
    if ranks:
        stage(name, config, overrides, out, ranks)
    else:
        launch(stage, name, config, overrides, out, world=config.procs, device="cpu" if config.procs > 1 else "auto")


def stage(name: str, config: AdaptConfig, overrides: list[str], out: Path, ranks: Ranks) -> None:
    """One process' share of `encode` or `train`."""
    from strands_diffusers_training import encode, export, plan, train

    run, found = plan.run_config(_on(overrides, ranks)), plan.read_plan(out)
    assert found is not None
    if name == "encode":
        encode.encode(found, run, out, ranks)
        ranks.agree(0.0)
        return
    with Watching(config, run, out, ranks) as watch:
        adapted = train.train(config, run, found, out, ranks, watch)
    if ranks.first:
        export.write_weights(adapted, found, out, config.train.blend)
    ranks.agree(0.0)
    export.free()


def _on(overrides: list[str], ranks: Ranks) -> list[str]:
    """The run config's overrides with this process' device, where several processes share a machine's GPUs."""
    named = any(override.startswith("model.device=") for override in overrides)
    return overrides if named or ranks.device == "auto" else [*overrides, f"model.device={ranks.device}"]


class Watching:
    """The tracker's run of a training: one run, also where it is killed and goes on."""

    def __init__(self, config: AdaptConfig, run: RunConfig, out: Path, ranks: Ranks) -> None:
        self.config, self.run, self.out, self.ranks = config, run, out, ranks
        self._tracker: tracking.SafeTracker | None = None

    def __enter__(self) -> Watching:
        if self.ranks.first:
            from strands_diffusers_training.export import as_dict

            self._tracker = tracking.SafeTracker(plugins().tracker(self.run.tracker))
            run_id = tracking.run_id(self.out, "adapt")
            self._tracker.start(
                RunInfo(f"adapt {self.config.name}", self.out, as_dict(self.config), "adapt", id=run_id)
            )
            for point in earlier(self.out):  # an offline run of the same id begins anew
                step = int(point.pop("step"))
                self(step, {k: v for k, v in point.items() if k != "time"}, {})
        return self

    def __call__(self, step: int, values: Mapping[str, float], files: Mapping[str, Path]) -> None:
        """Log a validation."""
        if self._tracker:
            self._tracker.progress(step, values, files)

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if self._tracker:
            status = "failed" if error else "done"
            self._tracker.finish(Record(self.out, status, error=errors.one_line(error) if error else ""))
            for line in self._tracker.notes():
                say(line)


def earlier(out: Path) -> list[dict[str, float]]:
    """The validations of an earlier run, up to the step that training goes on from."""
    import json

    path = out / "train" / "curve.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")] if path.is_file() else []


def _say_plan(config: AdaptConfig, run: RunConfig, found: Any, out: Path) -> None:
    from strands_diffusers.pipelines import checkpoint
    from strands_diffusers_training import estimate
    from strands_diffusers_training.plan import trainable
    from strands_diffusers_training.sampling import setting_of

    training, held = found.windows(held_out=False), found.windows(held_out=True)
    episodes, apart = len(found.addresses(held_out=False)), len(found.addresses(held_out=True))
    megabytes = (len(training) + len(held)) * found.window_bytes / 1e6
    say(f"{out}: {episodes} episodes to train on, {apart} held out, {len(found.skipped)} too short")
    say(
        f"{len(training)} + {len(held)} windows of {found.chunk} actions at {found.fps:g} Hz, {found.width} columns; "
        f"latents {'x'.join(map(str, found.latent))}, {megabytes:.0f} MB"
    )
    weights, options = checkpoint.locate(trainable(run)), config.train
    full = not setting_of(config, run, sum(weights.numbers.values()) or estimate.EDGE.numbers).lora
    usual = estimate.EDGE if run.model.name == "cosmos3_edge" else estimate.NANO
    size = estimate.size_of(weights.transformer, weights.numbers, full) if weights.transformer else usual
    tokens = estimate.tokens_of(size, found.latent, found.chunk)
    memory = estimate.memory_gb(size, tokens, options.batch, options.rank, options.checkpointing)
    passes = options.steps * options.batch * options.accumulate * config.procs
    work = passes * estimate.teraflop(size, tokens, options.checkpointing)
    say(
        f"{options.steps} steps of {'all weights' if full else f'a LoRA of rank {options.rank}'}: each window "
        f"{passes / max(1, len(training)):.1f} times; on paper {memory:.2g} GB a process, {work:,.3g} TFLOP"
    )


def say(text: str) -> None:
    """A line of progress, on standard error."""
    sys.stderr.write(errors.clean(text) + "\n")
    sys.stderr.flush()
