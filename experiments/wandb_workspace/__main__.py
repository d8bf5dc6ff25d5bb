"""`python -m experiments.wandb_workspace --domain bridge`: save a workspace for world-model rollouts in a W&B project."""

from __future__ import annotations

import argparse
import sys

from strands_diffusers.errors import DomainError, one_line
from strands_diffusers.trackers.wandb import DEFAULT_PROJECT

from .panels import sections

INSTALL = "the package wandb-workspaces is missing. Type: pip install wandb-workspaces"


def main(arguments: list[str] | None = None) -> int:
    """Return 0 where the workspace was saved (or printed), 1 where W&B refused, 2 where the request was wrong."""
    parser = argparse.ArgumentParser(prog="python -m experiments.wandb_workspace", description=__doc__)
    parser.add_argument("--entity", help="team or user (default: the account's own)")
    parser.add_argument("--project", default=DEFAULT_PROJECT)
    parser.add_argument("--name", default="World-model rollouts", help="the saved view's name")
    parser.add_argument("--domain", action="append", help="curves of this domain's columns; repeat it (default: pusht)")
    parser.add_argument("--sweep", help="only the runs of this W&B group, a sweep's (default: all runs)")
    parser.add_argument("--print", action="store_true", dest="show", help="print the specification, send nothing")
    options = parser.parse_args(arguments)
    try:
        chosen = sections(options.domain or ["pusht"])
    except DomainError as error:
        return _say(str(error), 2)
    try:
        from .workspace import build, spec_json
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("wandb_workspaces"):
            raise
        return _say(INSTALL, 2)

    facts = {"project": options.project, "name": options.name, "sweep": options.sweep}
    if options.show:
        print(spec_json(build(chosen, entity=options.entity or "", **facts)))
        return 0
    import wandb

    try:
        entity = options.entity or wandb.Api().default_entity
        if not entity:
            return _say("this W&B account has no default team or user. Type: --entity NAME", 2)
        workspace = build(chosen, entity=entity, **facts)
        workspace.save()
    except (wandb.Error, OSError) as error:
        return _say(f"the workspace was not saved: {one_line(error)} (--print shows it without a network)", 1)
    print(workspace.url)
    return 0


def _say(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
