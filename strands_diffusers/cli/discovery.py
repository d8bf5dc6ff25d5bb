"""What there is: `wfm`, `pipelines`, `info` of diffusers, `samples`, `experiments`; and `visualize`, an action chunk drawn."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from strands_diffusers import errors
from strands_diffusers.cli.terminal import columns, parser, write


def wfm(arguments: list[str]) -> int:
    """World-foundation and action-capable pipelines that the installed diffusers ships: what each takes and gives."""
    from strands_diffusers.pipelines import catalog

    return _list("wfm", wfm.__doc__, catalog.world_models, arguments)


def pipelines(arguments: list[str]) -> int:
    """Every pipeline of the installed diffusers: what each takes and gives."""
    from strands_diffusers.pipelines import catalog

    return _list("pipelines", pipelines.__doc__, catalog.everything, arguments)


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


def samples(arguments: list[str]) -> int:
    """Observations that need no file of yours: `observation=sample:NAME`, and what plugins' sources read."""
    from strands_diffusers.observations import samples as shipped
    from strands_diffusers.plugin.manager import plugins

    parser("samples", samples.__doc__).parse_args(arguments)
    index = plugins()
    rows = [(f"sample:{name}", shipped.task(name)) for name in shipped.names()]
    for name, cls in index.classes("source").items():
        if plugin := index.owner(cls):
            summary = next(r.summary for r in index.registrations if r.value is cls)
            rows.append((f"{name}:...", f"{summary} (plugin {plugin})"))
    write(columns(rows))
    return 0


def experiments(arguments: list[str]) -> int:
    """Experiments that can be run by name, `experiment=NAME` or `-m experiment=NAME`: the question that each one asks."""
    parser("experiments", experiments.__doc__).parse_args(arguments)
    rows = {path.stem: _question(path) for path in _experiment_files()}
    write(columns(sorted(rows.items())))
    return 0


def _experiment_files() -> Iterator[Path]:
    """Our own, then those in the config folders of plugins."""
    import importlib.resources

    from strands_diffusers.config.store import conf_dir
    from strands_diffusers.plugin.manager import plugins

    folders = [conf_dir()]
    for each in plugins().registrations:
        if each.hook == "register_configs":
            module, _, rest = each.value.removeprefix("pkg://").partition("/")
            folders.append(Path(str(importlib.resources.files(module))) / rest)
    for folder in folders:
        yield from sorted((folder / "experiment").glob("*.yaml"))


def _question(path: Path) -> str:
    """The first sentence of a file's comment, directives aside: what the experiment asks."""
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    comment = " ".join(line[1:].strip() for line in lines if line.startswith("#") and "@package" not in line)
    sentence = re.match(r".*?[.?!](?=\s|$)", comment)
    return sentence[0] if sentence else comment


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


def _list(verb: str, summary: str | None, find: Callable[[], Iterable[object]], arguments: list[str]) -> int:
    from strands_diffusers.pipelines.catalog import PipelineInfo

    as_json = False
    if arguments:  # a parser costs as much as the rest of the start
        options_of = parser(verb, summary)
        options_of.add_argument("--json", action="store_true", help="as JSON")
        as_json = options_of.parse_args(arguments).json
    rows = [each for each in find() if isinstance(each, PipelineInfo)]
    if as_json:
        import json

        write(json.dumps([{**each._asdict(), "modality": each.modality} for each in rows], indent=2))
        return 0
    lines = [(e.name, ", ".join(e.inputs), ", ".join(e.outputs), "modular" if e.modular else "") for e in rows]
    write(columns([("pipeline", "takes", "gives", ""), *lines]))
    return 0
