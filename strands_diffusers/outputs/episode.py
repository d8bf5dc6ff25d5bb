"""The serializer of episodes: `episode.json`, and `proposed.mp4` where the policy imagines videos of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from strands_diffusers.lazy import np
from strands_diffusers.outputs.files import check_rate, writing
from strands_diffusers.outputs.video_file import write_mp4
from strands_diffusers.plugin.base import Serializer
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.records import plain
from strands_diffusers.results import Artifact, Episode, Rollout


class EpisodeSerializer(Serializer):
    """Write what an episode holds beside its video and its actions to `episode.json`.

    Shapes: `proposed_action` [K][T][D] in model space, exact; `scores.NAME.values` [F], null where a frame has none;
        `states` [F], in the world's own terms. `proposed.mp4`: the policy's own videos, look after look, each cut to
        what was acted on: frame f beside frame f of `video.mp4`.
    """

    name = "episode"
    output_types = ("episode",)

    def save(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write `episode.json` and, where there is a video to write, `proposed.mp4`."""
        episode = rollout.episode
        assert episode is not None
        looks, steps, width = episode.proposed_action.shape
        path = directory / "episode.json"
        with writing(path):
            path.write_text(json.dumps(plain(as_tree(episode)), allow_nan=False), encoding="utf-8")
        facts = {"shape": [looks, steps, width], "unit": "model space", "looks": looks, "act_steps": episode.act_steps}
        artifacts = [Artifact(path, self.name, facts)]
        if episode.proposed_video is not None:
            video = directory / "proposed.mp4"
            fps = check_rate("fps of the proposed videos", rollout.fps)
            artifacts.append(Artifact(video, self.name, write_mp4(video, side_by_side(episode), fps)))
        return artifacts


def side_by_side(episode: Episode) -> np.ndarray:
    """The policy's own videos as one, uint8 `[F, H, W, 3]`: frame f shows what it imagined of frame f of the episode."""
    videos = episode.proposed_video
    assert videos is not None
    return np.concatenate([videos[0, :1], *(video[1 : episode.act_steps + 1] for video in videos)])


def as_tree(episode: Episode) -> dict[str, Any]:
    """The episode as nested plain values, without its videos."""

    def scores(of: Any) -> dict[str, Any]:
        return {name: {"unit": s.unit, "better": s.better, "values": s.values} for name, s in of.items()}

    return {
        "policy": episode.policy,
        "world": episode.world,
        "act_steps": episode.act_steps,
        "looks": [
            {"frame": frame, "seconds": seconds, "details": details}
            for frame, seconds, details in zip(episode.looks, episode.seconds, episode.details, strict=True)
        ],
        "scores": scores(episode.scores),
        "reference": episode.reference,
        "reference_scores": scores(episode.reference_scores),
        "proposed_action": episode.proposed_action,
        "states": episode.states,
        "reference_states": episode.reference_states,
    }


@hookimpl
def register_serializers() -> list[type[Serializer]]:
    return [EpisodeSerializer]
