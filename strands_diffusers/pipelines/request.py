"""From a config and an observation to a checked request: everything that can be refused, before the weights load.

Needs no torch: the request is checked against the observation and the checkpoint's own config files. `arguments` then
makes the pipeline's call of it, `canvas` is the frame transform.

Letters: K chunks, T steps of a chunk, D action width, F frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from strands_diffusers import actions
from strands_diffusers.config.conditions import (
    ACTION_MODES,
    TEMPORAL_FACTOR,
    ChunksConfig,
    ClosedLoopConfig,
    ForwardDynamicsConfig,
    ImageConfig,
    VideoConfig,
    WorldConditionConfig,
)
from strands_diffusers.config.fields import Perturb
from strands_diffusers.config.models import COSMOS3
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.errors import ActionError, ConfigError, ModelError, ObservationError
from strands_diffusers.observations import scenes
from strands_diffusers.pipelines import catalog, checkpoint
from strands_diffusers.pipelines.checkpoint import Checkpoint
from strands_diffusers.results import ActionSpace, Observation

NO_REFERENCE = "no reference"
"""How a `reference_note` begins that leaves nothing to compare with."""


@dataclass(frozen=True)
class Request:
    """What is asked of a model, checked and ready before the model is there."""

    mode: str
    prompt: str
    observation: Observation
    space: ActionSpace | None = None
    num_chunks: int = 1
    chunk_size: int = 0
    given_action_KTD: np.ndarray | None = None
    """What drives forward dynamics, after `condition.perturb`."""
    reference_action_KTD: np.ndarray | None = None
    """The true actions: of the observation; in forward dynamics those before the perturbation, where there is one."""
    frames_FHWC: np.ndarray | None = None
    """The frames that the condition and its reference use, at most K*T + 1 in the action modes."""
    reference_note: str = ""
    """What to know before anything is compared with the observation: `no reference: ...`, or what is not known of it.
    Empty where its frames and actions are the truth of this very request."""
    notes: tuple[str, ...] = ()
    """What speaks against the request without ruling it out, a line each: shown before it runs, kept in the record."""
    checkpoint: Checkpoint | None = None
    """Where the model's weights are; None in the requests of single chunks, whose model is loaded."""


def make_request(config: RunConfig, observation: Observation, given_TD: np.ndarray | None = None) -> Request:
    """Check the request against the observation and the checkpoint's own config files; nothing is loaded.

    `given_TD`: the actions of the file `condition.actions`, where that is set.
    Raises: a `RequestError` for whatever cannot work.
    """
    found = checkpoint.locate(config.model)
    condition, mode = config.condition, config.condition.mode.value
    if not isinstance(condition, ClosedLoopConfig):  # there each that is a model checks its own
        check_checkpoint(config, mode, found)
    if observation.frames is None and mode != "text":
        raise ObservationError(f"observation {observation.source} holds actions only; condition={mode} needs frames.")
    prompt = config.prompt if config.prompt is not None else observation.task or ""
    if not isinstance(condition, ClosedLoopConfig | ChunksConfig):
        request = _world_request(config, prompt, observation, found)
    else:
        if (space := config.space).statistics:
            actions.load_statistics(space.statistics, space.domain)
        if isinstance(condition, ChunksConfig):
            request = _action_request(condition, prompt, observation, space, given_TD)
        else:  # only where an episode begins; what acts in it checks the rest
            assert condition.chunk_size is not None
            assert observation.frames is not None
            sizes = condition.num_looks, condition.chunk_size
            request = Request(mode, prompt, observation, space, *sizes, frames_FHWC=observation.frames[:1])
    return replace(request, checkpoint=found, notes=tuple(_notes(config, request)))


def _notes(config: RunConfig, request: Request) -> Iterator[str]:
    """A line where the first frame, and where the actions, do not look like what the model was trained on."""
    source, scene, frames = request.observation.source, config.model.scene, request.frames_FHWC
    what = f"observation {source}" if source else "the observation"
    if frames is not None and scene is not None and (words := scenes.mismatch(scene, frames[0])):
        yield (
            f"{what} does not look like what model={config.model.name} was trained on ({words}): "
            "its video will mean little. Use observation=sample:push_left, or another model=."
        )
    own_KTD = request.reference_action_KTD if request.given_action_KTD is None else request.given_action_KTD
    if own_KTD is not None and request.space and (words := actions.range_note(own_KTD, request.space.domain)):
        yield f"the actions of {what}: {words}. Use domain=NAME for theirs (strands-diffusers domains)."


def _action_request(
    condition: ChunksConfig, prompt: str, observation: Observation, space: ActionSpace, given_TD: np.ndarray | None
) -> Request:
    mode = condition.mode.value
    if mode == "policy" and not prompt.strip():
        raise ConfigError(
            "condition=policy needs a task: add 'prompt=\"Put the pot to the left.\"'; the observation holds none."
        )
    steps, frames, what = condition.steps, observation.frames, f"observation {observation.source}"
    assert frames is not None
    if mode == "inverse_dynamics" and len(frames) < steps + 1:
        raise ObservationError(
            f"{what} has {len(frames)} frames; inverse dynamics over {steps} steps needs {steps + 1}. "
            f"Use a longer clip or condition.chunk_size={_fitting(len(frames) - 1)}."
        )
    given = reference = None
    if isinstance(condition, ForwardDynamicsConfig):
        given = _given_actions(condition, observation, given_TD, space)
        if condition.perturb is not Perturb.none:
            reference, given = given, actions.perturbed(given, condition.perturb.value, space)
    elif observation.actions is not None and len(observation.actions) >= steps:
        reference = _checked(observation.actions, what, space)[:steps]
    note, frames = _reference_note(mode, prompt, observation, given), frames[: steps + 1]
    if note.startswith(NO_REFERENCE):
        reference, frames = None, frames[:1]
    chunks = (condition.num_chunks, steps // condition.num_chunks, -1)
    return Request(
        mode,
        prompt,
        observation,
        space,
        *chunks[:2],
        given_action_KTD=None if given is None else given.reshape(chunks),
        reference_action_KTD=None if reference is None else reference.reshape(chunks),
        frames_FHWC=frames,
        reference_note=note,
    )


def _reference_note(mode: str, prompt: str, observation: Observation, given_TD: np.ndarray | None) -> str:
    """What the observation's own frames and actions are worth as the truth of this request."""
    if observation.frames is None or (len(observation.frames) < 2 and observation.actions is None):
        return ""
    if mode == "policy" and not (observation.task or "").strip():
        return "the observation names no task: its frames and actions may show another one"
    if mode == "policy" and _plain(prompt) != _plain(observation.task or ""):
        return f"{NO_REFERENCE}: the observation shows another task (“{observation.task}”)"
    if given_TD is None or len(observation.frames) < 2:
        return ""
    if observation.actions is None:
        return "the given actions come from elsewhere: the observed frames may follow others"
    same = np.array_equal(observation.actions[: len(given_TD)], given_TD)
    return "" if same else "the observed frames follow other actions than the given ones"


def _plain(task: str) -> str:
    """A task without what does not change it: case, white space, punctuation at its end."""
    return " ".join(task.casefold().split()).rstrip(" .,;:!?…")


def _fitting(steps: int) -> int:
    """The longest chunk that `steps` steps fill."""
    return max(4, steps // 4 * 4)


def _checked(value: Any, what: str, space: ActionSpace) -> np.ndarray:
    """Model-space actions [T, D], or an `ActionError` that says where they came from."""
    try:
        return actions.check_actions(value, space.domain, space=space)
    except ActionError as error:
        raise ActionError(f"{what}: {error}") from error


def _given_actions(
    condition: ForwardDynamicsConfig, observation: Observation, given_TD: np.ndarray | None, space: ActionSpace
) -> np.ndarray:
    """The [steps, D] model-space actions that drive forward dynamics. A short file is refused: diffusers would repeat its last row."""
    value, what, steps = observation.actions, f"observation {observation.source}", condition.steps
    if condition.actions is not None:
        value, what = given_TD, f"action file {condition.actions}"
    if value is None:
        raise ActionError(
            f"condition=forward_dynamics needs actions and {what} holds none. "
            "Add condition.actions=FILE.json (nested lists [T][D] in model space)."
        )
    chunk_TD = _checked(value, what, space)
    if len(chunk_TD) < steps:
        raise ActionError(
            f"{what} has {len(chunk_TD)} steps; the rollout needs {steps}. "
            f"Use condition.chunk_size={_fitting(len(chunk_TD))}, or give more actions."
        )
    return chunk_TD[:steps]


def _world_request(config: RunConfig, prompt: str, observation: Observation, found: Checkpoint) -> Request:
    condition, mode, frames = config.condition, config.condition.mode.value, observation.frames
    assert isinstance(condition, WorldConditionConfig)
    if mode == "text" or frames is None:
        frames = None
    elif isinstance(condition, VideoConfig):
        needed = condition.frames_needed
        if len(frames) < needed:
            raise ObservationError(
                f"observation {observation.source} has {len(frames)} frames; condition.condition_frames="
                f"{condition.condition_frames} needs {needed}. Use a longer clip or condition.condition_frames=[0]."
            )
        frames = frames[:needed] if condition.keep.value == "first" else frames[-needed:]
    else:
        frames = frames[:1]
    request = Request(mode=mode, prompt=prompt, observation=observation, frames_FHWC=frames)
    name = config.model.pipeline or COSMOS3
    if name == COSMOS3:
        _check_canvas(condition, found)
    elif name in catalog.pipelines():
        known = catalog.pipeline_info(name)
        if known["modular"]:
            raise ModelError(
                f"model.pipeline={name} is a modular pipeline, which takes named inputs alone. "
                "Call it with use_diffusers(action='run'), or choose the plain class of its family."
            )
        fit_arguments(world_arguments(config, request), known["call_params"], name, mode)
    return request


def world_arguments(config: RunConfig, request: Request) -> dict[str, Any]:
    """What a text, image or video condition gives a pipeline, by Cosmos 3's names; `image` and `video` are uint8 frames."""
    condition = config.condition
    assert isinstance(condition, WorldConditionConfig)
    given: dict[str, Any] = {
        "prompt": request.prompt,
        "negative_prompt": condition.negative_prompt,
        "num_frames": condition.num_frames,
        "height": condition.height,
        "width": condition.width,
        "fps": condition.fps,
        "enable_sound": condition.sound or None,
        "use_system_prompt": condition.system_prompt,
    }
    frames = request.frames_FHWC
    if frames is not None and isinstance(condition, ImageConfig):
        given["image"] = frames[0]
    elif frames is not None and isinstance(condition, VideoConfig):
        keep, clean = condition.keep.value, list(condition.condition_frames)
        given |= {"video": frames, "condition_frame_indexes_vision": clean, "condition_video_keep": keep}
    return {name: value for name, value in given.items() if value is not None}


_ALIASES = {
    "fps": ("fps", "frame_rate"),
    "num_frames": ("num_frames", "video_length"),
    "image": ("image", "image_reference"),
}
_OPTIONAL = {"fps", "condition_frame_indexes_vision", "condition_video_keep"}
"""Left out in silence where a pipeline has no such argument: `fps` then only sets the rate of the written video."""


def fit_arguments(given: Mapping[str, Any], takes: Collection[str], pipeline: str, mode: str) -> dict[str, Any]:
    """Only the arguments that a pipeline's call takes. Raises: `ModelError` for one that was asked for and it lacks."""
    fitted: dict[str, Any] = {}
    for name, value in given.items():
        target = next((alias for alias in _ALIASES.get(name, (name,)) if alias in takes), None)
        if target:
            fitted[target] = value
        elif name not in _OPTIONAL and not (name == "num_frames" and value == 1):
            sizes = ("image", "video", "num_frames", "height", "width")
            known = ", ".join(each for each in takes if each in given or each in sizes)
            raise ModelError(
                f"{pipeline} takes no {name!r}, which condition={mode} gives it; of these it takes {known}."
            )
    return fitted


def _check_canvas(condition: WorldConditionConfig, found: Checkpoint) -> None:
    """What `Cosmos3OmniPipeline.check_inputs` would refuse once the weights are there."""
    cell = int(found.vae.get("scale_factor_spatial") or 16)
    for key, value in (("height", condition.height), ("width", condition.width)):
        if value is not None and value % cell:
            below, above = value // cell * cell, (value // cell + 1) * cell
            raise ConfigError(
                f"condition.{key}={value} is not a multiple of {cell}, the autoencoder's cell [pixels]. "
                f"Use condition.{key}={f'{below} or {above}' if below else above}."
            )
    if isinstance(condition, VideoConfig) and condition.num_frames is not None:
        count = 1 + (condition.num_frames - 1) // TEMPORAL_FACTOR
        if max(condition.condition_frames) >= count:
            raise ConfigError(
                f"condition.condition_frames={condition.condition_frames}: a video of {condition.num_frames} frames has "
                f"latent frames 0 to {count - 1}. Use condition.num_frames={condition.frames_needed} or more."
            )


def check_checkpoint(config: RunConfig, mode: str, found: Checkpoint) -> None:
    """What a local checkpoint's config files rule out."""
    name, facts = config.model.pipeline, found.transformer
    if found.local:
        saved = found.index.get("_class_name")
        if name is not None and config.model.name != "custom" and saved != name:
            raise ModelError(f"{found.place} is a {saved}, not a {name}. Use model=custom model.repo={found.place}.")
        name = name or saved
        silent = not facts.get("sound_gen") or not (found.index.get("sound_tokenizer") or [None])[0]
        if name == COSMOS3 and getattr(config.condition, "sound", False) and silent:
            raise ModelError(f"condition.sound=true, but the checkpoint {found.place} was saved without sound.")
    if mode in ACTION_MODES and name is not None:
        if name != COSMOS3:
            raise ModelError(
                f"condition={config.condition.mode.value} needs {COSMOS3}; {name} has no actions. "
                "Use condition=text, image or video, or model=cosmos3_pusht."
            )
        domain = config.domain.facts
        has, needed = facts.get("action_dim") if facts.get("action_gen") else 0, domain.width or 0
        if facts and (not has or needed > has):
            raise ModelError(
                f"the checkpoint {found.place} has action width {has}; domain {domain.short} needs {needed}."
            )
