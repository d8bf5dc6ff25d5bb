"""`python -m experiments.pusht_quality PIPELINE_FOLDER --out FOLDER`: evaluate a checkpoint, write table and pictures.

Results go to `OUT/results.jsonl` as they come; started again, it goes on from there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from . import jobs, sheet, table, work


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.pusht_quality", description=__doc__)
    parser.add_argument("model", type=Path, help="a save_pretrained folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=64, help="held-out clips for forward and inverse dynamics")
    parser.add_argument("--starts", type=int, default=64, help="held-out starts for the policy, five tasks each")
    parser.add_argument("--longs", type=int, default=35, help="held-out episodes of six chunks, walls included")
    parser.add_argument("--unseen", type=int, default=16, help="starts asked in wordings never trained on")
    parser.add_argument("--steps", type=int, default=8, help="denoising steps of the policy")
    parser.add_argument("--guidance", type=float, default=1.0, help="guidance scale of the policy")
    parser.add_argument("--beside", type=Path, help="another evaluation's folder, shown in a column for the same jobs")
    parser.add_argument("--procs", type=int, default=2)
    parser.add_argument("--videos", action=argparse.BooleanOptionalAction, default=True, help="keep every video")
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
    videos = options.out / "videos" if options.videos else None
    if videos:
        videos.mkdir(exist_ok=True)
    log = options.out / "results.jsonl"
    results = work.read(log)
    done = {(r["kind"], r["index"], r["task"]) for r in results}
    todo = [job for job in jobs.plan(options.clips, options.starts, options.unseen, options.longs) if job not in done]
    results += work.run(todo, (options.model, options.steps, options.guidance, videos), log, options.procs)
    title = f"{options.model.name}, {options.steps} steps, guidance {options.guidance:g}"
    beside = work.read(options.beside / "results.jsonl") if options.beside else None
    text = table.markdown(results, title, beside)
    (options.out / "table.md").write_text(text)
    print(text)
    if videos:
        sheet.draw(videos, options.out / "sheet.png")


if __name__ == "__main__":
    main()
