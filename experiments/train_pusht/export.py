"""Stage `export`: the trained parts as one `save_pretrained` folder, in bfloat16, within its size limit."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import Cosmos3OmniPipeline, Cosmos3OmniTransformer
from strands_diffusers_training.optim import newest
from strands_diffusers_training.parallel import Ranks
from transformers import AutoTokenizer

from .latents import load_vae, scale_of
from .model import build
from .world import scheduler

LIMIT_BYTES = 20_000_000


@dataclass
class ExportConfig:
    """Writes WORK/export, or the folder given."""

    to: str = ""
    """Folder to write; empty: WORK/export."""

    flow_shift: float = 1.0
    """Shift of the sampler's noise levels."""

    init: str = ""
    """The `--init` of the run: a pipeline folder that gives the autoencoder's configuration, and what was not trained in
    WORK. Its transformer comes with its own tokenizer and scale of the latents, which an autoencoder trained since must have
    kept (`--anchor`, `--no-train_encoder`)."""

    mean: str = ""
    """Pipeline folders of earlier runs, separated by commas: the mean of their transformers' weights is exported in place of
    WORK's, with the rest of `init`. Of runs that went on from one another it is often better than any of them."""

    decoder: str = ""
    """A checkpoint of stage `vae` with a longer-trained decoder for the same latents; empty: the newest."""


def run(config: ExportConfig, work: Path, ranks: Ranks) -> None:
    """Assemble the averaged weights (of the cool-downs, where there are any) and save them."""
    if not ranks.first:
        return
    if config.mean and not config.init:
        raise SystemExit("--mean takes tokenizer and autoencoder from --init FOLDER. Give one of the folders.")
    target = Path(config.to) if config.to else work / "export"
    vae = load_vae(work, "cpu", config.init, config.decoder)
    if config.mean:
        transformer = mean_of([Path(folder) for folder in config.mean.split(",")])
        tokenizer, source = Path(config.init) / "text_tokenizer", f"the mean of {config.mean}"
    elif state := newest(work / "transformer.pt"):
        mean, std = ([round(float(x), 6) for x in part.flatten()] for part in scale_of(work))
        vae.register_to_config(latents_mean=mean, latents_std=std)
        transformer, tokenizer = build(), work / "tokenizer"
        transformer.load_state_dict(state["average"])
        source = f"{state['file']} at step {state['step']}"
    elif config.init:
        transformer = Cosmos3OmniTransformer.from_pretrained(config.init, subfolder="transformer")
        tokenizer, source = Path(config.init) / "text_tokenizer", f"the transformer of {config.init}"
    else:
        raise SystemExit(
            f"No transformer in {work} yet. Run the stage `transformer` first, or give one by --init FOLDER."
        )
    pipeline = Cosmos3OmniPipeline(
        transformer.to(torch.bfloat16),
        AutoTokenizer.from_pretrained(tokenizer),
        vae.to(torch.bfloat16),
        scheduler(config.flow_shift),
        enable_safety_checker=False,
        default_use_system_prompt=False,
    )
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    pipeline.save_pretrained(partial, safe_serialization=True)
    for part in ("vae", "transformer"):  # whose files record the folder of `init`: nobody else's business
        config_file = partial / part / "config.json"
        facts = json.loads(config_file.read_text())
        facts.pop("_name_or_path", None)
        config_file.write_text(json.dumps(facts, indent=2) + "\n")
    files = sorted(path for path in partial.rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in files)
    for path in files:
        print(f"{path.stat().st_size / 1e6:8.3f} MB  {path.relative_to(partial)}")
    print(f"{size / 1e6:8.3f} MB  in all, from {source}")
    if size > LIMIT_BYTES:
        raise SystemExit(f"{size} bytes is more than {LIMIT_BYTES}. Train something smaller.")
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def mean_of(folders: list[Path]) -> Cosmos3OmniTransformer:
    """The transformer whose weights are the mean of theirs, in float32."""
    models = [Cosmos3OmniTransformer.from_pretrained(folder, subfolder="transformer").float() for folder in folders]
    states = [model.state_dict() for model in models]
    models[0].load_state_dict({name: torch.stack([s[name] for s in states]).mean(0) for name in states[0]})
    return models[0]
