"""Make what the sweeps need: earlier checkpoints out of git's past, copies that cannot judge, and a preset for each.

    python -m experiments.judge_pusht.prepare --out DIR

Writes `DIR/past/NAME` and `DIR/spoiled/{deaf,confused}` (`save_pretrained` folders), and `DIR/conf`, for `--config-dir`. Each checkpoint
acts with the sampler that its own card recommended.
"""

import argparse
import io
import subprocess
import tarfile
from pathlib import Path

import strands_diffusers
from experiments.pusht_quality.controls import spoil

HERE = Path(__file__).parent
MODEL = "strands_diffusers/assets/cosmos3_pusht"

PAST = {  # name: (commit that shipped it, guidance, flow shift)
    "run_1": ("ee4e742", 6.0, 2.0),
    "run_3": ("c710e6d", 6.0, 2.0),
    "run_7": ("e6a8190", 4.0, 1.0),
    "run_8": ("f262186", 4.0, 1.0),
    "run_10": ("a050d51", 4.0, 1.0),
    "run_15": ("99c4fab", 1.0, 1.0),
}
"""Earlier checkpoints, by their number in experiments/train_pusht/LOG.md."""

GUIDANCES = (1, 4)
"""What the shipped model is asked with; 1 is recommended."""

PROPOSALS = (2, 4, 8)
"""Of `policy=best_of`, which proposes and sees what comes of it by the shipped model."""

JUDGES = ("deaf", "confused")


def main() -> None:
    """Write the folder. Needs the repository's history: a shallow clone lacks it."""
    parser = argparse.ArgumentParser(prog="python -m experiments.judge_pusht.prepare", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out.resolve()
    for name, (commit, guidance, shift) in PAST.items():
        folder = extract(commit, out / "past" / name)
        preset(out, "policy", name, "model", policy(folder, guidance, shift))
    for scale in GUIDANCES:
        preset(out, "policy", f"guidance_{scale}", "model", policy("asset:cosmos3_pusht", scale, 1.0))
    for count in PROPOSALS:
        chosen = f"proposals: {count}\nscore: pusht_coverage\npictures: 0\npredict: {{repo: asset:cosmos3_pusht}}\n"
        content = policy("asset:cosmos3_pusht", 1, 1.0).replace("video: false\n", "") + chosen
        preset(out, "policy", f"best_of_{count}", "best_of", content)
    for name in JUDGES:
        folder = out / "spoiled" / name
        if not folder.is_dir():
            spoil(Path(strands_diffusers.__file__).parent / "assets/cosmos3_pusht", folder, name)
        preset(out, "model", name, "cosmos3_pusht", f"name: {name}\nrepo: {folder}\ndtype: bfloat16\n")
    print(out / "conf")


def extract(commit: str, folder: Path) -> Path:
    """The embedded model as it was at a commit."""
    if not folder.is_dir():
        root = HERE.parents[1]
        packed = subprocess.run(["git", "archive", commit, MODEL], cwd=root, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder.with_suffix(".partial"), filter="data")
        (folder.with_suffix(".partial") / MODEL).rename(folder)
    return folder


def policy(repo: Path | str, guidance: float, shift: float) -> str:
    """The options of a checkpoint as a policy; its own video is not needed."""
    sampler = f"{{num_inference_steps: 8, guidance_scale: {guidance:.1f}, flow_shift: {shift:.1f}}}"
    return f"repo: {repo}\nvideo: false\nsampler: {sampler}\n"


def preset(out: Path, group: str, name: str, base: str, content: str) -> None:
    """Write the choice `group=name`: another choice with some options."""
    path = out / "conf" / group / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"defaults:\n  - {base}\n  - _self_\n{content}", encoding="utf-8")


if __name__ == "__main__":
    main()
