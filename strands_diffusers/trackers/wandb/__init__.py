"""Weights & Biases: the only door to wandb. Whatever goes wrong in there is noted and never loses a rollout.

What a run of a job holds:

| key                          | what                                                                                    |
|------------------------------|-----------------------------------------------------------------------------------------|
| `video`, `sound`, `image`    | the rollout's own files; of several samples the pictures over all of them only          |
| `observation`, `reference`   | what was seen, and the true frames where there are any                                  |
| `plots/<visualizer>`         | what each visualizer drew                                                               |
| `action/<column>`            | one panel a column: predicted, given and true action over the step (t of chunk k: k*T + t) |
| `action/table`               | the numbers behind these panels, model space; `line` says whose they are                |
| `samples`                    | of several samples: a table with one row each, its video and its metrics                |
| `metrics/<metric>.<value>`   | as in the manifest: of several samples the mean                                         |
| `seconds/<stage>`            | wall seconds of each stage                                                              |
| summary                      | `status`, `error`, `problems`, `hash`                                                   |
| artifact `rollout-<run id>`  | `manifest.json` and the action files                                                    |

A run with problems has the tag `problems`, and one for each: `failed: metric jerk`.

A summary run of a sweep (`job_type` `sweep`) holds the table `sweep` with one row a job, the sweep's tables and
pictures, and in its summary each verdict (`verdict/<name>`) with its numbers, and how many jobs ended how.

Offline run folders upload with `wandb sync`. Their media lie inside them and survive a move to another place or
machine; only what is in artifacts (tables too) is found by absolute path (wandb's rule): sync before moving to keep it.
"""

from strands_diffusers.plugin.base import Tracker
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.trackers.wandb.tracker import DEFAULT_PROJECT, WandbTracker

__all__ = ["DEFAULT_PROJECT", "WandbTracker"]


@hookimpl
def register_trackers() -> list[type[Tracker]]:
    return [WandbTracker]
