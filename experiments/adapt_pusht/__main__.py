"""`python -m experiments.adapt_pusht --work FOLDER`: datasets, adaptations, their evaluation and the table; goes on where it was."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from strands_diffusers import ActionSpace, read_json

from . import data, evaluate, table
from .variants import VARIANTS

SHIPPED = "shipped"
RATE, BLEND = {"lora": "6e-4", "all": "null"}, {"lora": 0.8, "all": 0.6}
"""`train.lr` and `train.blend` of each way to train, found on `recoloured` with 50 episodes (README)."""

KEPT = 50
"""At most so many episodes of the original table are rehearsed."""

ORIGINAL = ActionSpace("pusht", pixel_map=True)


def same_actions(variant: str) -> bool:
    """Whether its actions mean what the shipped model's do, so that one model can know both tables."""
    return not VARIANTS[variant].relative


def rehearsed(variant: str, episodes: int, share: float) -> int:
    """Episodes of the original table that are trained on beside so many of a variant."""
    return min(KEPT, round(share * episodes)) if same_actions(variant) else 0


def adapt(variant: str, episodes: int, what: str, options: argparse.Namespace) -> Path:
    """Adapt the model that ships by the command itself. -> the folder with its presets."""
    from strands_diffusers_training.command import adapt as command

    sets = [(variant, episodes)]
    if kept := rehearsed(variant, episodes, options.rehearse):
        sets.append(("original", kept))
    roots = [data.write(name, count, options.work / "data" / f"{name}_{count}") for name, count in sets]
    name, out = f"{variant}_{episodes}_{what}", options.work / "adapted" / f"{variant}_{episodes}_{what}"
    words = [
        *(f"data=lerobot:{root}@actions:action@units:physical" for root in roots),
        f"name={name}",
        f"out={out}",
        f"procs={options.procs}",
    ]
    words += [] if same_actions(variant) else ["statistics=own"]
    words += [
        f"train.what={what}",
        f"train.lr={RATE[what]}",
        f"train.blend={BLEND[what] if same_actions(variant) else 1}",
        f"stride={options.stride}",
        f"train.steps={options.steps}",
        f"train.batch={options.batch}",
        "train.validate_every=100",
    ]
    words += [f"judge.windows={options.judge}", "tracker=none", *options.more]
    latents = options.work / "latents" / "_".join(root.name for root in roots)  # the same for every way to train
    if latents.is_dir() and not (out / "latents").exists():
        out.mkdir(parents=True, exist_ok=True)
        (out / "latents").symlink_to(latents)
    if command(words):
        raise SystemExit(f"adapt failed: {' '.join(words)}")
    if not latents.is_dir() and not (out / "latents").is_symlink():
        latents.parent.mkdir(parents=True, exist_ok=True)
        (out / "latents").rename(latents)
        (out / "latents").symlink_to(latents)
    return out / "export"


def model_of(folder: Path | None, variant: str) -> evaluate.Model:
    """The model of an adapted folder on a variant; None: the one that ships."""
    if folder is None:
        return evaluate.Model(["model=cosmos3_pusht", "domain=pusht"], ORIGINAL)
    name = folder.parent.name
    choice = [f"hydra.searchpath=[file://{folder}]", f"model={name}"]
    if variant == "original":
        return evaluate.Model([*choice, "domain=pusht", "model.pixel_map=true"], ORIGINAL)
    facts = read_json(folder.parent / "check.json", "check.json", SystemExit)["space"]
    return evaluate.Model([*choice, f"domain={name}"], ActionSpace(**facts))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.adapt_pusht", description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--variants", nargs="+", default=["recoloured", "physics", "relative"], choices=list(VARIANTS)[:3]
    )
    parser.add_argument("--episodes", type=int, nargs="+", default=[10, 50, 200])
    parser.add_argument("--what", nargs="+", default=["lora", "all"], choices=["lora", "all"])
    parser.add_argument(
        "--rehearse", type=float, default=0.5, help=f"episodes of the original table for each new one, at most {KEPT}"
    )
    parser.add_argument("--stride", type=int, default=2, help="steps from one window of an episode to the next")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=24, help="samples per process and step")
    parser.add_argument("--tables", type=int, default=32, help="held-out tables of each evaluation")
    parser.add_argument("--judge", type=int, default=0, help="held-out windows of adapt's own judgement")
    parser.add_argument("--procs", type=int, default=2)
    parser.add_argument("more", nargs="*", help="further KEY=VALUE of adapt")
    options = parser.parse_args()
    options.work = options.work.expanduser().absolute()
    out = options.work / "results"
    for variant in (*options.variants, "original"):
        if same_actions(variant):
            evaluate.evaluate(
                f"{variant}-{SHIPPED}", model_of(None, variant), variant, options.tables, out, options.procs
            )
    for variant, episodes, what in itertools.product(options.variants, options.episodes, options.what):
        folder = adapt(variant, episodes, what, options)
        for where in (variant, "original") if same_actions(variant) else (variant,):
            kind = "" if where == variant else f"{variant}_"
            name = f"{where}-{kind}{episodes}_{what}"
            evaluate.evaluate(name, model_of(folder, where), where, options.tables, out, options.procs)
    text = table.markdown(out) + "\n" + table.goals(out)
    (options.work / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
