"""`wfm`, `pipelines`, `info` and `visualize`: what diffusers has, and what an action chunk looks like."""

from collections.abc import Iterable
from pathlib import Path

from strands_diffusers import errors
from strands_diffusers.cli.terminal import columns, parser, write


def wfm(arguments: list[str]) -> int:
    """World-foundation and action-capable pipelines that the installed diffusers ships: what each takes and gives."""
    from strands_diffusers.pipelines import catalog

    as_json = _json_flag("wfm", wfm.__doc__, arguments)
    return _show(catalog.world_models(), as_json)


def pipelines(arguments: list[str]) -> int:
    """Every pipeline of the installed diffusers: what each takes and gives."""
    from strands_diffusers.pipelines import catalog

    as_json = _json_flag("pipelines", pipelines.__doc__, arguments)
    return _show(catalog.everything(), as_json)


def info(arguments: list[str]) -> int:
    """One pipeline, or any other public name of diffusers: parameters with defaults, components, outputs."""
    from strands_diffusers.pipelines import catalog

    options_of = parser("info", info.__doc__)
    options_of.add_argument("name", help="Cosmos3OmniPipeline, UniPCMultistepScheduler, utils.export_to_video, ...")
    options_of.add_argument("--json", action="store_true", help="everything, as JSON")
    options = options_of.parse_args(arguments)
    is_pipeline = options.name in catalog.pipelines()
    found = catalog.pipeline_info(options.name) if is_pipeline else catalog.describe_name(options.name)
    if options.json:
        import json

        write(json.dumps(found, indent=2))
        return 0
    write(f"{found['name']}  ({found['module']})")
    if is_pipeline:
        write(f"takes {', '.join(found['inputs']) or 'noise'}; gives {', '.join(found['outputs']) or 'no media'}")
    write(found["doc"].split("\n\n")[0])
    for title, key in (("call", "call_params"), ("constructor", "init_params"), ("parameters", "params")):
        if found.get(key):
            write(f"\n{title}")
            write(
                columns(
                    (f"  {name}", spec["annotation"] or "", f"= {spec['default']}") for name, spec in found[key].items()
                )
            )
    for title, key in (("components", "components"), ("output", "output_fields")):
        if found.get(key):
            write(f"\n{title}")
            write(columns((f"  {name}", kind or "") for name, kind in found[key].items()))
    return 0


def visualize(arguments: list[str]) -> int:
    """Draw an action chunk: timeseries.png, trajectory.png and animation.mp4."""
    options_of = parser("visualize", visualize.__doc__)
    options_of.add_argument(
        "action", help="action file (.json, .npy, .npz); a manifest.json beside it gives domain and fps"
    )
    options_of.add_argument("--domain", help="embodiment, where no manifest names it (bridge_orig_lerobot)")
    options_of.add_argument("--fps", type=float, help="rate of the actions [Hz]")
    options_of.add_argument("--video", help="world video to show beside the curves")
    options_of.add_argument("--prompt", help="the task, for the title")
    options = options_of.parse_args(arguments)
    from strands_diffusers.api.tool import use_diffusers

    given = {"domain": options.domain, "fps": options.fps, "world_video": options.video, "prompt": options.prompt}
    parameters = {name: value for name, value in given.items() if value is not None}
    reply = use_diffusers("visualize", inputs=str(Path(options.action).expanduser()), parameters=parameters)
    if reply["status"] == "error":
        kind = getattr(errors, reply["data"]["error"], errors.StrandsDiffusersError)
        raise kind(reply["content"][0]["text"])
    for path in reply["artifacts"]:
        write(path)
    return 0


def _show(found: Iterable[object], as_json: bool) -> int:
    from strands_diffusers.pipelines.catalog import PipelineInfo

    rows = [each for each in found if isinstance(each, PipelineInfo)]
    if as_json:
        import json

        write(json.dumps([{**each._asdict(), "modality": each.modality} for each in rows], indent=2))
        return 0
    head = ("pipeline", "takes", "gives", "")
    lines = [
        (each.name, ", ".join(each.inputs), ", ".join(each.outputs), "modular" if each.modular else "") for each in rows
    ]
    write(columns([head, *lines]))
    return 0


def _json_flag(verb: str, summary: str | None, arguments: list[str]) -> bool:
    if not arguments:
        return False
    options_of = parser(verb, summary)
    options_of.add_argument("--json", action="store_true", help="as JSON")
    return bool(options_of.parse_args(arguments).json)
