"""Every private name of a library that we use is listed here, and is still there. A failure names what moved.

The engine's own list is `pipelines/engine/seams.py`, with a test beside this one.
"""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

pytestmark = pytest.mark.contract
ROOT = Path(__file__).parents[2]
COSMOS3 = "diffusers.pipelines.cosmos.pipeline_cosmos3_omni"

PRIVATE = {
    "hydra": {
        "hydra._internal.callbacks:Callbacks": (
            "strands_diffusers/cli/run.py",
            "plugins/launchers",
            "experiments/sweep_workers",
        ),
        "hydra._internal.utils:get_args_parser": ("strands_diffusers/cli/run.py",),
        "hydra._internal.utils:create_config_search_path": ("plugins/launchers",),
        "hydra._internal.config_loader_impl:ConfigLoaderImpl": ("plugins/launchers",),
        "hydra.core.utils:JobReturn._return_value": ("plugins/launchers",),
    },
    "torch": {
        "torch:_utils": ("plugins/training",),
        "torch._utils:_flatten_dense_tensors": ("plugins/training",),
        "torch._utils:_unflatten_dense_tensors": ("plugins/training",),
    },
    "diffusers": {
        f"{COSMOS3}:_ACTION_RESOLUTION_BINS": ("strands_diffusers/pipelines/canvas.py",),
        "diffusers.modular_pipelines:ModularPipeline._component_specs": ("strands_diffusers/pipelines/modular.py",),
        f"{COSMOS3}:_ACTION_VIEWPOINT_TEMPLATES": ("experiments/train_pusht",),
        f"{COSMOS3}:Cosmos3OmniPipeline._build_action_json_prompt": ("experiments/train_pusht",),
        f"{COSMOS3}:Cosmos3OmniPipeline._get_execution_device": ("plugins/engines",),
        f"{COSMOS3}:Cosmos3OmniPipeline._prepare_action_video_conditioning": ("plugins/training",),
        f"{COSMOS3}:Cosmos3OmniPipeline._encode_video": ("plugins/training",),
        f"{COSMOS3}:Cosmos3OmniPipeline._remove_action_video_padding_from_latent": ("plugins/training",),
        "diffusers:Cosmos3OmniTransformer._keep_in_fp32_modules": ("plugins/training",),
        "diffusers:AutoencoderKLWan._encode": ("experiments/train_pusht",),
        "diffusers:AutoencoderKLWan._conv_idx": ("experiments/train_pusht",),
        "diffusers:AutoencoderKLWan._feat_map": ("experiments/train_pusht",),
    },
    "gym_pusht": {
        "gym_pusht.envs.pusht:PushTEnv._block_shapes": ("plugins/pusht",),
        "gym_pusht.envs.pusht:PushTEnv._render": ("plugins/pusht",),
        "gym_pusht.envs.pusht:PushTEnv._setup": ("plugins/pusht",),
    },
    "openpi_client": {
        "openpi_client.websocket_client_policy:WebsocketClientPolicy._ws": ("experiments/serve_load",),
    },
    "wandb_workspaces": {
        "wandb_workspaces.workspaces:Workspace._to_model": ("plugins/workspace",),
    },
}
"""Library, `module:name` (of an attribute that instances get: `module:Class.name`), and where it is used."""

PLAIN = {"_asdict", "_replace", "_fields", "_make", "_exit", "_getframe", "_target_"}
"""What begins with an underscore and is documented: named tuples, `os._exit`, a key of Hydra's configs."""

OURS = {"_texts", "_tokenizer"}
"""Of this repository, looked into by experiments."""

LISTED = {(name, library): places for library, names in PRIVATE.items() for name, places in names.items()}


@pytest.mark.parametrize(("name", "library"), LISTED)
def test_a_private_name_is_still_there(name, library):
    pytest.importorskip(library)
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    *owners, last = path.split(".")
    for owner in owners:
        found = getattr(found, owner)

    set_by_instances = inspect.isclass(found) and any(
        f"self.{last}" in inspect.getsource(cls) for cls in found.__mro__ if cls.__module__.startswith(library)
    )
    assert hasattr(found, last) or set_by_instances, f"{name} moved; it is used in {', '.join(LISTED[name, library])}"


def used(path):
    """Private names of others in a source file: imported, or read off something that is not our own instance."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and not node.module.startswith(("strands_diffusers", "experiments"))
        ):
            private = any(part.startswith("_") and part != "__future__" for part in node.module.split("."))
            yield from (a.name for a in node.names if not node.level and (private or a.name.startswith("_")))
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            ours = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if not ours and node.attr not in own:
                yield node.attr


def sources():
    for folder in ("strands_diffusers", "plugins", "experiments"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "tests" not in path.parts and not path.name.startswith("test_") and "engine" not in path.parts:
                yield path


def test_no_private_name_is_used_that_is_not_listed():
    listed = {}
    for (name, _), places in LISTED.items():
        for place in places:
            listed.setdefault(place, set()).add(name.rpartition(":")[2].rpartition(".")[2])
    unlisted, seen = {}, set()
    for path in sources():
        where = path.relative_to(ROOT).as_posix()
        for name in set(used(path)) - PLAIN - OURS:
            place = next((p for p in listed if where.startswith(p) and name in listed[p]), None)
            seen.add((place, name))
            if place is None:
                unlisted.setdefault(where, set()).add(name)

    assert unlisted == {}, "list them in PRIVATE, or do without"
    assert {(p, n) for p, names in listed.items() for n in names} <= seen, "listed and no longer used: take it out"
