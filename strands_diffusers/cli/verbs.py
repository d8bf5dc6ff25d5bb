"""The verbs of the command line, in one table. Each takes its arguments and returns an exit status."""

from collections import Counter
from collections.abc import Callable, Iterable

from strands_diffusers.cli import discovery, finished
from strands_diffusers.cli.stats import stats
from strands_diffusers.cli.terminal import columns, parser, say, write
from strands_diffusers.domains import Column
from strands_diffusers.errors import ConfigError


def version(arguments: list[str]) -> int:
    """The installed version."""
    import importlib.metadata  # costs as much as the rest of the start

    write(f"strands-diffusers {importlib.metadata.version('strands-diffusers')}")
    return 0


def plugins(arguments: list[str]) -> int:
    """What each hook got, from which plugin, in order, and what was left out; `plugins new NAME` writes a new package."""
    from strands_diffusers.errors import near_miss
    from strands_diffusers.plugin import manager

    if arguments[:1] == ["new"]:
        return _new_plugin(arguments[1:])
    hooks = (*manager.HOOKS, *manager.LIFECYCLE)
    options_of = parser("plugins", plugins.__doc__ or "")
    options_of.add_argument("--hook", help="only this hook")
    hook = options_of.parse_args(arguments).hook
    if hook is not None and hook not in hooks:
        raise ConfigError(f"{hook!r} is not a hook; the hooks are {', '.join(hooks)}.{near_miss(hook, hooks)}")
    index = manager.plugins()
    for name in [hook] if hook else hooks:
        rows = [(f"  {r.name}", r.plugin, r.summary) for r in index.registrations if r.hook == name]
        if name in manager.LIFECYCLE:
            rows = [(f"  {plugin}", "", "") for plugin in index.called_at(name)]
        write(f"{name}\n{columns(rows) or '  nothing'}")
    for name, version in index.versions.items():
        write(f"version: {name} {version}")
    for problem in index.problems:
        write(f"left out: {problem.plugin}: {problem.message}")
    if index.disabled:
        write(f"disabled: {', '.join(index.disabled)} ({manager.DISABLE_VARIABLE})")
    return 0


def play(arguments: list[str]) -> int:
    """Act in the world model yourself, in the browser."""
    options_of = parser("play", play.__doc__)
    about = (
        "play.port=8765 and others of docs/play.md; overrides of condition=closed_loop, as observation=sample:push_up"
    )
    options_of.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=about)
    overrides = options_of.parse_args(arguments).overrides
    from strands_diffusers.play import command

    return command.play(overrides, say)


def _new_plugin(arguments: list[str]) -> int:
    import shlex
    from pathlib import Path

    from strands_diffusers.plugin.scaffold import new

    options_of = parser("plugins new", "Write a new plugin package, which installs and passes its own tests.")
    options_of.add_argument(
        "name", help="a-z, 0-9 and _: the plugin is called NAME, its package strands_diffusers_NAME"
    )
    options_of.add_argument("--into", default=".", metavar="DIR", help="write its folder into DIR instead of here")
    options = options_of.parse_args(arguments)
    files = new(options.name, Path(options.into).expanduser().absolute())
    root = shlex.quote(str(files[0].parent))
    write("\n".join([*map(str, files), f"Install it: pip install -e {root}", f"Test it:    pytest {root}/tests"]))
    return 0


def domains(arguments: list[str]) -> int:
    """The embodiments: short name, diffusers' name, width, rate, chunk, view, statistics."""
    from strands_diffusers import domains as facts

    parser("domains", domains.__doc__ or "").parse_args(arguments)
    rows = [("domain", "diffusers", "id", "width", "fps", "chunk", "view", "columns")]
    rows += [
        (
            d.short,
            d.name,
            str(d.id),
            str(d.width or "-"),
            f"{d.fps:g}" if d.fps else "-",
            str(d.chunk_size or "-"),
            d.view_point or "-",
            _groups(d.columns) + ("" if d.statistics else "  (model space only)"),
        )
        for d in facts.all_domains()
    ]
    write(columns(rows))
    return 0


def _groups(columns_of: Iterable[Column]) -> str:
    counts = Counter(column.group for column in columns_of)
    return ", ".join(f"{name} {count}" if count > 1 else name for name, count in counts.items())


def doctor(arguments: list[str]) -> int:
    """What is installed, which devices there are, and whether the embedded model is whole."""
    parser("doctor", doctor.__doc__ or "").parse_args(arguments)
    from strands_diffusers.config.compose import compose
    from strands_diffusers.config.store import conf_dir
    from strands_diffusers.errors import StrandsDiffusersError
    from strands_diffusers.plugin.manager import plugins as index
    from strands_diffusers.runner import job, provenance, sweep

    rows = [(name, value) for name, value in provenance.versions().items()]
    rows.append(("configs", str(conf_dir())))
    rows.append(("plugins", f"{len(index().registrations)} registrations, {len(index().problems)} left out"))
    status = 0
    try:
        sweep.prepare()
        job.check(compose([]))
        rows.append(("main job", "config, observation and embedded weights are whole"))
    except StrandsDiffusersError as error:
        rows.append(("main job", f"BROKEN: {error}"))
        status = 1
    from strands_diffusers.pipelines import devices

    rows.append(("devices", devices.names()))
    write(columns(rows))
    return status


def serve(arguments: list[str]) -> int:
    """Serve a policy and a world to other programs, over websockets: `serve [KEY=VALUE ...]`, as `serve.port=8000`."""
    from strands_diffusers.serve import command

    return command.serve(arguments, write)


VERBS: dict[str, Callable[[list[str]], int]] = {
    "wfm": discovery.wfm,
    "pipelines": discovery.pipelines,
    "info": discovery.info,
    "samples": discovery.samples,
    "experiments": discovery.experiments,
    "visualize": discovery.visualize,
    "play": play,
    "stats": stats,
    "report": finished.report,
    "measure": finished.measure,
    "redraw": finished.redraw,
    "serve": serve,
    "plugins": plugins,
    "domains": domains,
    "doctor": doctor,
    "--version": version,
}
"""Verbs by name. None can be an override: those hold a `=`."""
