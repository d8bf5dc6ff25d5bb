"""Make what the sweep needs: copies that cannot predict, and a preset for each arm.

    python -m experiments.plan_pusht.prepare --out DIR

Writes `DIR/spoiled/{deaf,confused}` (`save_pretrained` folders) and `DIR/conf/policy/ARM.yaml`, for `--config-dir`.
"""

import argparse
from pathlib import Path

import strands_diffusers
from experiments.pusht_quality.controls import spoil

COPIES = ("deaf", "confused")

ARMS = {
    "alone": "proposals: 1",
    "best_2": "proposals: 2",
    "best_4": "proposals: 4",
    "best_8": "proposals: 8",
    "best_16": "proposals: 16",
    "cem": "proposals: 8\niterations: 3",
    "random_8": "proposals: 8\nchoose: random",
    "deaf_8": "proposals: 8\npredict: {repo: FOLDER/deaf}",
    "confused_8": "proposals: 8\npredict: {repo: FOLDER/confused}",
    "short_8": "proposals: 8\npredict: {steps: 8}",
    "mean_8": "proposals: 8\nover: mean",
    "fresh_8": "proposals: 8\nrest: false",
    "gap_8": "proposals: 8\nscore: pusht_gap",
    "agreement_8": "proposals: 8\nscore: agreement\nover: mean",
}
"""Options of `policy=pusht_planner`, by arm."""


EXPERIMENT = """# @package _global_
defaults:
  - override /domain: pusht
  - override /condition: closed_loop
  - override /world: pusht
  - override /score: [pusht_coverage]
  - override /metric: [scores]
  - override /output: [action, episode]
  - override /visualizer: []
condition:
  num_looks: 12
  act_steps: 8
"""
"""`experiment=plan_pusht` without what it sweeps: here the tables vary slowest. No video is kept."""


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(prog="python -m experiments.plan_pusht.prepare", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out.resolve()
    for name in COPIES:
        if not (folder := out / "spoiled" / name).is_dir():
            spoil(Path(strands_diffusers.__file__).parent / "assets/cosmos3_pusht", folder, name)
    presets = out / "conf" / "policy"
    presets.mkdir(parents=True, exist_ok=True)
    for name, options in ARMS.items():
        lines = ["defaults:", "  - pusht_planner", "  - _self_", options.replace("FOLDER", str(out / "spoiled"))]
        (presets / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (out / "conf" / "experiment").mkdir(exist_ok=True)
    (out / "conf" / "experiment" / "plan.yaml").write_text(EXPERIMENT, encoding="utf-8")
    print(out / "conf")


if __name__ == "__main__":
    main()
