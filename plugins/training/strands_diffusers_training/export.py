"""What comes out: weights (at the end of `train`), then presets and a card (stage `export`).

The folder `export/` composes at once: `strands-diffusers --config-dir OUT/export model=NAME domain=NAME`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from strands_diffusers import domains, errors, read_json
from strands_diffusers.config import compose
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.pipelines.checkpoint import ASSET, HEADS
from strands_diffusers.records import write_text, writing
from strands_diffusers.runner import provenance
from strands_diffusers_training.config import AdaptConfig
from strands_diffusers_training.encode import NO_ROOM, RENDERING
from strands_diffusers_training.parameters import write_lora
from strands_diffusers_training.plan import Plan
from strands_diffusers_training.train import Adapted


def weights_folder(out: Path) -> Path:
    """The LoRA and the action projections, or a whole pipeline."""
    return out / "export" / "weights"


def write_weights(adapted: Adapted, plan: Plan, out: Path, blend: float = 1.0) -> None:
    """Write the averaged weights, at a share of the way from the model's own: a LoRA with the domain's action projections, or
    the whole pipeline in its own precision. Nothing is trained after this.
    """
    place, pipe = weights_folder(out), adapted.pipe
    partial = place.with_suffix(".partial")
    with writing(place, NO_ROOM):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with adapted.training.averaged():
            adapted.blend(blend)
            if adapted.setting.lora:
                write_lora(pipe.transformer, plan.domain_id, partial)
            else:
                _as_loaded(pipe.transformer, adapted.dtype)
                pipe.save_pretrained(partial, safe_serialization=True)
                _forget_places(partial)
        partial.rename(place)


def _as_loaded(transformer: Any, dtype: torch.dtype) -> None:
    """The precision that the weights had; what diffusers keeps in float32 stays."""
    kept = tuple(transformer._keep_in_fp32_modules or ())
    for name, p in transformer.named_parameters():
        if not any(part in kept for part in name.split(".")):
            p.data = p.data.to(dtype)


def _forget_places(folder: Path) -> None:
    """The folder that the base was loaded from is nobody else's business."""
    for path in folder.glob("*/config.json"):
        facts = json.loads(path.read_text())
        if facts.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(facts, indent=2) + "\n")


def write_presets(folder: Path, name: str, run: RunConfig, plan: Plan, out: Path, before: bool = False) -> None:
    """Write `model/NAME.yaml` and `domain/NAME.yaml`; with `before` also `model/NAME_before.yaml`, the untrained model."""
    model: dict[str, Any] = compose.to_tree(run.model)
    model |= {"pixel_map": plan.space.pixel_map, "scene": None}  # the dataset may look otherwise
    if model["domains"] is not None:
        model["domains"] = sorted({*model["domains"], domains.short_name(plan.domain)})
    if model["chunk_sizes"] is not None:
        model["chunk_sizes"] = sorted({*model["chunk_sizes"], plan.chunk})
    if model["dtype"] == "auto" and run.model.repo.startswith(ASSET):
        model["dtype"] = "bfloat16"  # what auto means for a model that ships, wherever it is written to
    trained = dict(model)
    if (weights_folder(out) / HEADS).is_file():
        trained["lora"] = {
            "repo": str(weights_folder(out)),
            "weight_name": "pytorch_lora_weights.safetensors",
            "scale": 1.0,
        }
    else:
        trained |= {"repo": str(weights_folder(out)), "revision": None, "variant": None}
    domain = {
        "fps": plan.fps,
        "chunk_size": plan.chunk,
        "view_point": plan.view_point,
        "statistics": plan.space.statistics,
        "normalization": plan.space.normalization,
        "gripper": plan.space.gripper,
    }
    _preset(folder / "model" / f"{name}.yaml", ["/model_schema@_here_"], trained | {"name": name})
    if before:
        _preset(folder / "model" / f"{name}_before.yaml", ["/model_schema@_here_"], model | {"name": f"{name}_before"})
    _preset(folder / "domain" / f"{name}.yaml", [domains.short_name(plan.domain)], domain)


def _preset(path: Path, defaults: Sequence[str], values: dict[str, Any]) -> None:
    from omegaconf import OmegaConf

    with writing(path.parent, NO_ROOM):
        path.parent.mkdir(parents=True, exist_ok=True)
    body = OmegaConf.to_yaml(OmegaConf.create({"defaults": [*defaults, "_self_"], **values}))
    write_text(path, "# Written by strands-diffusers adapt; README.md beside this folder says how.\n" + body)


def export(config: AdaptConfig, run: RunConfig, plan: Plan, out: Path, command: str) -> Path:
    """Write presets and card into `export/`. -> that folder."""
    folder = out / "export"
    if plan.space.statistics and Path(plan.space.statistics).is_file():  # fitted to the dataset: they go with the model
        kept = folder / "statistics" / f"{config.name}.json"
        with writing(kept, NO_ROOM):
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(plan.space.statistics, kept)
        plan = dataclasses.replace(plan, space=dataclasses.replace(plan.space, statistics=str(kept)))
    write_presets(folder, config.name, run, plan, out)
    judged = out / "judge" / "judgement.json"
    judgement = read_json(judged, str(judged), errors.OutputError) if judged.is_file() else None
    if judged.is_file():
        write_text(folder / "judgement.json", judged.read_text(encoding="utf-8"))
    write_text(folder / "README.md", card(config, run, plan, out, command, judgement))
    return folder


def card(config: AdaptConfig, run: RunConfig, plan: Plan, out: Path, command: str, judgement: Any) -> str:
    """The model's card, in Markdown."""
    lora = (weights_folder(out) / HEADS).is_file()
    held, training = plan.addresses(held_out=True), plan.addresses(held_out=False)
    statistics = plan.space.statistics or (
        "pixel / 256 - 1" if plan.space.pixel_map else "none: the dataset is in model space"
    )
    train, count, count_held = config.train, len(plan.windows(held_out=False)), len(plan.windows(held_out=True))
    shown = "not measured" if math.isnan(rendering(out)) else f"renders the first window with {rendering(out):.1f} dB"
    blended = "" if train.blend == 1 else f", then {train.blend:g} of the way from the model's own weights"
    what = "all of the transformer"
    if lora:
        what = f"a LoRA of rank {train.rank} on the generation stream, and the action projections of the domain"
    lines = [
        f"# {config.name}",
        "",
        f"{run.model.name} ({run.model.repo}), adapted to {', '.join(config.data)} by `strands-diffusers adapt`.",
        "",
        "```bash",
        f"strands-diffusers --config-dir {out / 'export'} model={config.name} domain={config.name} observation=ADDRESS",
        "```",
        "",
    ]
    if lora:
        lines += [
            "In plain diffusers, `pipe` being the base model's pipeline:",
            "",
            "```python",
            "from safetensors.torch import load_file",
            f'pipe.transformer.load_lora_adapter("{weights_folder(out)}", prefix=None, weight_name="pytorch_lora_weights.safetensors")',
            f'for name, row in load_file("{weights_folder(out) / HEADS}").items():',
            f"    pipe.transformer.get_submodule(name).weight.data[{plan.domain_id}:{plan.domain_id + 1}] = row",
            "```",
            "",
        ]
    lines += [
        "| | |",
        "|---|---|",
        f"| what was trained | {what} |",
        f"| modes | {', '.join(train.modes)} |",
        f"| domain | {domains.short_name(plan.domain)}, {plan.width} columns, {plan.fps:g} Hz, chunks of {plan.chunk} |",
        f"| statistics | {statistics} |",
        f"| windows | {count} of {len(training)} episodes, {count_held} of {len(held)} held out |",
        f"| autoencoder, not trained | {shown} |",
        f"| steps | {train.steps} of {train.batch * train.accumulate} samples per process{blended} |",
        f"| versions | {', '.join(f'{k} {v}' for k, v in provenance.versions().items())} |",
        f"| command | `{command}` |",
        "",
        "**Held out, never trained on**: " + ", ".join(f"`{address}`" for address in held) + ".",
        "",
    ]
    if plan.skipped:
        lines += [f"Left out, shorter than a window: {', '.join(f'`{a}`' for a in plan.skipped)}.", ""]
    lines += judgement_lines(judgement)
    return "\n".join(lines)


def rendering(out: Path) -> float:
    """PSNR [dB] of the dataset's first window through the autoencoder; nan where it was not measured."""
    path = out / RENDERING
    found = read_json(path, str(path), errors.OutputError).get("psnr_db") if path.is_file() else None
    return float("nan") if found is None else float(found)


def judgement_lines(judgement: Any) -> list[str]:
    """The judgement as Markdown."""
    if not judgement:
        return ["It was not judged."]
    lines: list[str] = []
    for part in judgement["parts"]:
        lines += [f"## {part['title']}", "", part["note"], ""] if part.get("note") else [f"## {part['title']}", ""]
        if part["rows"]:
            lines += ["| mode | measure | better | before | after | observations |", "|---|---|---|---|---|---|"]
            lines += [
                f"| {r['mode']} | {r['measure']}{' [' + r['unit'] + ']' if r['unit'] else ''} | {r['better']} | "
                f"{_cell(r['before'])} | {_cell(r['after'])} | {r['count']} |"
                for r in part["rows"]
            ]
            lines.append("")
        lines += [f"{line}\n" for line in part.get("verdicts", [])]
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    bounds = f" ({value['low']:.3g} to {value['high']:.3g})" if value["low"] is not None else ""
    return f"{value['mean']:.3g}{bounds}"


def as_dict(config: AdaptConfig) -> dict[str, Any]:
    """The config, JSON-ready."""
    tree = dataclasses.asdict(config)
    tree["statistics"], tree["train"]["what"] = config.statistics.value, config.train.what.value
    return tree


def free() -> None:
    """Let go of the trained model, which is no longer what its preset says."""
    from strands_diffusers.pipelines import loader

    loader.clear()
    torch.set_grad_enabled(True)
