"""What goes into a recording. Imported when one is written: rerun takes a second.

Letters: F frames, S steps of all chunks (K*T), D action width.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rerun as rr
import rerun.blueprint as rrb

from strands_diffusers import Rollout, actions, domains, errors, write_mp4

_ROLLOUT, _REFERENCE = (10, 111, 184), (140, 140, 140)
_COLOURS = ((10, 111, 184), (208, 83, 10), (46, 139, 87), (148, 70, 160), (184, 134, 11), (60, 60, 60))
"""Blue, orange, green, purple, gold, grey: one a column, again from the start after six."""

_PIXELS = 512.0
"""Side of PushT's table [px], which its videos show whole."""


def record(rollout: Rollout, path: Path, crf: int, application: str) -> list[str]:
    """Write the recording of `rollout` to `path`, under the application id `application`, and return its entities.

    Raises: `OutputError` where there is nothing to see, or a value is not finite.
    """
    recording = _Recording(rollout, crf, application)
    recording.stream.save(path, default_blueprint=None)
    recording.videos()
    recording.curves()
    recording.paths()
    recording.media()
    if not recording.entities:
        raise errors.OutputError("output=[rerun] found nothing to record in this rollout. Leave rerun out.")
    recording.about()
    recording.stream.send_blueprint(recording.layout(), make_active=True, make_default=True)
    recording.stream.flush()
    recording.stream.disconnect()
    return sorted(recording.entities)


class _Recording:
    """A recording in the making."""

    def __init__(self, rollout: Rollout, crf: int, application: str) -> None:
        self.rollout, self.crf = rollout, crf
        self.fps = rollout.fps or 1.0
        self.stream = rr.RecordingStream(application)
        self.entities: set[str] = set()
        seed = "" if rollout.seed is None else f" seed {rollout.seed}"
        self.stream.send_recording_name(f"{rollout.mode} {rollout.domain or ''}{seed}".replace("  ", " "))
        self._kinds: dict[str, dict[str, list[str]]] = {}
        """Column names by group and kind: what shares a plot, because it shares a unit."""
        self._physical = False
        self._bodies: dict[str, np.ndarray] = {}
        """Corners [2, 3] of the space that each body moves in."""

    def videos(self) -> None:
        """The rollout's video and, where something was observed after the first frame, the reference's."""
        reference = self.rollout.reference_video
        if self.rollout.video is not None:
            self._video("rollout/video", self.rollout.video)
        if reference is not None and len(reference) > 1:
            self._video("reference/video", reference)

    def _video(self, entity: str, frames_FHWC: np.ndarray) -> None:
        with tempfile.TemporaryDirectory() as folder:
            video = Path(folder) / "video.mp4"
            write_mp4(video, frames_FHWC, self.fps, crf=self.crf)
            asset = rr.AssetVideo(contents=video.read_bytes(), media_type="video/mp4")
        self._static(entity, asset)
        stamps = asset.read_frame_timestamps_nanos()
        self._columns(entity, len(stamps), rr.VideoFrameReference.columns_nanos(stamps))

    def curves(self) -> None:
        """One curve for each column: model space, the reference's, and decoded where that is possible."""
        rollout, space = self.rollout, self.rollout.space
        action = rollout.action if rollout.action is not None else rollout.given_action
        if action is None or space is None:
            return
        known = domains.get(space.domain)
        for column in known.columns:
            self._kinds.setdefault(column.group, {}).setdefault(column.kind, []).append(column.name)
        labels = [column.name for column in known.columns]
        self._curves("action", _rows(action), labels)
        if rollout.reference_action is not None:
            self._curves("reference_action", _rows(rollout.reference_action), [f"{label} (true)" for label in labels])
        if actions.decodable(space):
            self._physical = True
            units = [f"{c.name} [{c.unit}]" if c.unit else c.name for c in known.columns]
            self._curves("physical", actions.to_physical(_rows(action), space), units)

    def _curves(self, root: str, rows_SD: np.ndarray, labels: list[str]) -> None:
        assert self.rollout.space is not None
        columns = domains.get(self.rollout.space.domain).columns
        muted = root == "reference_action"
        for index, (column, label) in enumerate(zip(columns, labels, strict=True)):
            place = [c.name for c in columns if (c.group, c.kind) == (column.group, column.kind)].index(column.name)
            colour = _COLOURS[place % len(_COLOURS)]
            entity = f"{root}/{column.group}/{column.name}"
            line = rr.SeriesLines(
                names=label, colors=[*(colour if not muted else _pale(colour))], widths=1.0 if muted else 2.0
            )
            self._static(entity, line)
            self._columns(entity, len(rows_SD), rr.Scalars.columns(scalars=rows_SD[:, index].astype(np.float64)))

    def paths(self) -> None:
        """Where each body goes, in metres from its own first pose; PushT's targets over the video."""
        rollout, space = self.rollout, self.rollout.space
        action = rollout.action if rollout.action is not None else rollout.given_action
        if action is None:
            return
        true = rollout.reference_action
        observed = {} if true is None else actions.paths(true, space)
        for group, path_F44 in actions.paths(action, space).items():
            points = path_F44[:, :3, 3]
            self._line(f"path/{group}/line", points, _ROLLOUT)
            if group in observed:
                self._line(f"path/{group}/reference", observed[group][:, :3, 3], _REFERENCE)
                points = np.concatenate([points, observed[group][:, :3, 3]])
            self._bodies[group] = np.stack([points.min(0), points.max(0)])
            reach = max(float(np.ptp(points, axis=0).max()), 0.02)
            body = f"path/{group}/body"
            self._static(body, rr.TransformAxes3D(0.15 * reach))
            poses = rr.Transform3D.columns(translation=path_F44[:, :3, 3], mat3x3=path_F44[:, :3, :3])
            self._columns(body, len(path_F44), poses)
        if (pixels_S2 := actions.pixel_path(action, space)) is not None and rollout.video is not None:
            scale = np.array(rollout.video.shape[2:0:-1]) / _PIXELS
            targets = pixels_S2 * scale
            self._static("rollout/video/targets", rr.LineStrips2D([targets], colors=[*_ROLLOUT, 110], radii=-1.0))
            dots = rr.Points2D.columns(positions=targets, colors=[_ROLLOUT] * len(targets), radii=[-4.0] * len(targets))
            self._columns("rollout/video/target", len(targets), dots)

    def _line(self, entity: str, points: np.ndarray, colour: tuple[int, int, int]) -> None:
        self._static(entity, rr.LineStrips3D([points], colors=[*colour], radii=rr.Radius.ui_points(1.5)))

    def media(self) -> None:
        """Sound, pictures and a mesh, where the rollout holds them."""
        rollout = self.rollout
        if rollout.sound is not None and rollout.sampling_rate:
            import soundfile

            wave = io.BytesIO()
            soundfile.write(wave, rollout.sound, rollout.sampling_rate, format="WAV", subtype="FLOAT")
            self._static("sound", rr.AssetAudio(contents=wave.getvalue(), media_type="audio/wav"))
        for number, picture in enumerate(rollout.image if rollout.image is not None else ()):
            self._static(f"image/{number:02d}", rr.Image(picture))
        if rollout.mesh is not None:
            mesh = rr.Mesh3D(vertex_positions=rollout.mesh.vertices, triangle_indices=rollout.mesh.faces)
            self._static("mesh", mesh)

    def about(self) -> None:
        """What this is, in words."""
        rollout = self.rollout
        facts = {
            "mode": rollout.mode, "domain": rollout.domain, "seed": rollout.seed, "sample": rollout.sample,
            "observation": rollout.observation.source or None, "fps": rollout.fps,
            "engine": (rollout.details.get("engine") or {}).get("effective"),
        }  # fmt: skip
        lines = [f"- **{key}**: {value}" for key, value in facts.items() if value is not None]
        text = "\n".join([f"# {rollout.prompt or rollout.mode}", "", *lines])
        self._static("about", rr.TextDocument(text, media_type=rr.MediaType.MARKDOWN))

    def layout(self) -> rrb.Blueprint:
        """Videos and paths above, curves below, words at the side."""
        above: list[Any] = []
        if "rollout/video" in self.entities:
            above.append(rrb.Spatial2DView(origin="rollout", name="rollout"))
        if "reference/video" in self.entities:
            above.append(rrb.Spatial2DView(origin="reference", name="reference (observed)"))
        above += [_path_view(group, corners) for group, corners in self._bodies.items()]
        if "mesh" in self.entities:
            above.append(rrb.Spatial3DView(origin="mesh", name="mesh"))
        if any(entity.startswith("image/") for entity in self.entities):
            above.append(rrb.Spatial2DView(origin="image", name="image"))
        if "sound" in self.entities:
            above.append(rrb.AudioView(origin="sound", name="sound"))
        below = [self._plots(group) for group in self._kinds]
        about = rrb.TextDocumentView(origin="about", name="about")
        rows: list[Any] = [rrb.Horizontal(*above, about, column_shares=[2] * len(above) + [1])]
        rows += [below[0] if len(below) == 1 else rrb.Tabs(*below)] if below else []
        return rrb.Blueprint(
            rrb.Vertical(*rows, row_shares=[1] * len(rows)),
            rrb.TimePanel(timeline="time", state="collapsed"),
            rrb.SelectionPanel(state="collapsed"),
            rrb.BlueprintPanel(state="collapsed"),
        )

    def _plots(self, group: str) -> Any:
        """One plot for each kind of a group's columns: model space above, physical units below."""
        rows = []
        roots = {"model space": ("action", "reference_action")} | (
            {"physical": ("physical",)} if self._physical else {}
        )
        for space, places in roots.items():
            views = []
            for kind, names in self._kinds[group].items():
                found = [f"/{root}/{group}/{name}" for root in places for name in names]
                contents = [entity for entity in found if entity[1:] in self.entities]
                label = group if kind == group else f"{group} {kind}"
                views.append(rrb.TimeSeriesView(origin="/", contents=contents, name=f"{label}, {space}"))
            rows.append(rrb.Horizontal(*views))
        return rrb.Vertical(*rows, name=group)

    def _static(self, entity: str, value: Any) -> None:
        self.entities.add(entity)
        self.stream.log(entity, value, static=True)

    def _columns(self, entity: str, count: int, columns: Any) -> None:
        """Values of frames 0 to `count` - 1, on both timelines."""
        self.entities.add(entity)
        frames = np.arange(count)
        clocks = [rr.TimeColumn("frame", sequence=frames), rr.TimeColumn("time", duration=frames / self.fps)]
        self.stream.send_columns(entity, clocks, columns)


def _path_view(group: str, corners_23: np.ndarray) -> rrb.Spatial3DView:
    """A view that sees the whole path, from behind, above and the right."""
    middle = corners_23.mean(0)
    away = max(float(np.linalg.norm(np.ptp(corners_23, axis=0))), 0.02) * np.array([-0.7, -1.0, 0.8])
    eye = rrb.EyeControls3D(position=middle + away, look_target=middle, eye_up=(0, 0, 1))
    return rrb.Spatial3DView(origin=f"path/{group}", name=f"path of {group} [m]", eye_controls=eye)


def _rows(action_KTD: np.ndarray) -> np.ndarray:
    if not np.isfinite(action_KTD).all():
        raise errors.OutputError("the actions hold NaN or inf; no recording was written.")
    return action_KTD.reshape(-1, action_KTD.shape[-1])


def _pale(colour: tuple[int, int, int]) -> tuple[int, ...]:
    return tuple((part + 2 * 190) // 3 for part in colour)
