"""`animation.mp4` and `comparison.mp4`, and what all visualizers promise about threads, imports and global state."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from rollouts import assert_inside, moving_frames, rollout_of

from strands_diffusers.errors import OutputError
from strands_diffusers.outputs import style
from strands_diffusers.outputs.animation import AnimationVisualizer, Layout, grid
from strands_diffusers.outputs.comparison import ComparisonVisualizer, comparison_canvas, comparison_frames, difference
from strands_diffusers.outputs.panels import shown_action
from strands_diffusers.outputs.timeseries import TimeseriesVisualizer
from strands_diffusers.outputs.trajectory import TrajectoryVisualizer
from strands_diffusers.results import Episode, Rollout, Scored


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


def stage_of(rollout: Rollout) -> tuple[Layout, list[np.ndarray]]:
    stage = Layout.of(rollout, shown_action(rollout))
    return stage, [frame.copy() for frame in stage.frames(rollout.fps)]


def test_the_animation_shows_every_frame_of_the_video_at_its_rate(bridge, tmp_path, decode, probe):
    rollout = replace(bridge, video=moving_frames(17, 480, 640))
    [artifact] = AnimationVisualizer().draw(rollout, tmp_path)

    stored_FHWC = decode(artifact.path)
    left, top, width, height = Layout.of(rollout, shown_action(rollout)).video_box
    assert len(stored_FHWC) == 17
    assert (width, height) == (640, 480)
    assert artifact.details["shape"] == list(stored_FHWC.shape)
    assert " 5 fps" in probe(artifact.path)
    assert psnr(stored_FHWC[:, top : top + height, left : left + width], rollout.video) > 38


def test_the_playhead_moves_from_the_first_step_to_the_end(bridge):
    stage, frames = stage_of(bridge)
    plot = stage.drawn[1][0]  # the rotation panel
    bottom = round(plot.box[3])

    where = []
    for frame_HWC in frames:
        dark = np.flatnonzero((frame_HWC[bottom - 40 : bottom] == style.rgb(style.INK)).all(axis=2).any(axis=0))
        where.append(dark.mean())
    expected = plot.box[0] + np.arange(17) / 16 * plot.width
    np.testing.assert_allclose(where, expected, atol=1.5)


def test_the_future_is_pale_and_the_past_is_not(bridge):
    stage, frames = stage_of(bridge)
    left, top, right, bottom = map(round, stage.drawn[0][0].box)
    rows, middle = slice(top, bottom), round((left + right) / 2)
    past, future = slice(left, middle - 12), slice(middle + 12, right)

    now_HWC = frames[8]
    np.testing.assert_array_equal(now_HWC[rows, past], stage.full_HWC[rows, past])
    np.testing.assert_array_equal(now_HWC[rows, future], stage.pale_HWC[rows, future])
    assert stage.pale_HWC[rows, future].min() > stage.full_HWC[rows, future].min() + 60


def test_the_dots_ride_on_the_curves(bridge):
    action_KTD = np.zeros((1, 16, 10), np.float32)
    action_KTD[0, :, 9] = np.linspace(-0.8, 0.8, 16)
    stage, frames = stage_of(replace(bridge, action=action_KTD))
    plot, panel = stage.drawn[2]
    [curve] = panel.curves

    for frame in (1, 8, 15):
        value = (curve.values_S[frame - 1] + curve.values_S[frame]) / 2
        x, y = plot.px(frame, value)
        np.testing.assert_array_equal(frames[frame][round(y), round(x)], style.rgb(style.GRIPPER_COLOUR))


def test_a_score_that_some_frames_lack_has_no_dot_there(bridge):
    values = np.where(np.arange(17) < 9, np.nan, 0.5)
    episode = Episode(
        "still", "model", 16, (0,), bridge.action, None, {"coverage": Scored(values, "", "higher")}, (), (0.1,), ({},)
    )
    stage, frames = stage_of(replace(bridge, episode=episode))
    plot = stage.drawn[-1][0]
    left, top, right, bottom = map(round, plot.box)

    x, y = map(round, plot.px(16, 0.5))
    np.testing.assert_array_equal(frames[16][y, x - 3], style.rgb(stage.drawn[-1][1].curves[0].colour))
    early = frames[4][top:bottom, left : right - 3 * (right - left) // 4]
    assert not (early == style.rgb(stage.drawn[-1][1].curves[0].colour)).all(axis=2).any()


def test_a_small_video_is_shown_larger_and_a_film_without_one_shows_the_curves_alone(bridge, tmp_path, decode):
    stage, _ = stage_of(bridge)
    assert stage.video_box[2:] == (512, 384)  # 128 x 96

    [artifact] = AnimationVisualizer().draw(replace(bridge, video=None), tmp_path)
    assert len(decode(artifact.path)) == 17


def test_a_video_that_is_longer_than_its_actions_is_shown_to_its_end(bridge):
    _, frames = stage_of(replace(bridge, video=moving_frames(25)))

    assert len(frames) == 25


@pytest.mark.parametrize("domain", ["hand_pose", "agibot", "galbot", "av"])
def test_no_title_of_a_panel_is_cut_in_the_film(domain):
    rollout = rollout_of(domain, video=moving_frames(17, 240, 320))
    canvas = Layout.of(rollout, shown_action(rollout)).drawn[0][0].canvas

    assert not any("…" in text.words for text in canvas.texts)
    assert canvas.width % 2 == canvas.height % 2 == 0
    for text in canvas.texts:
        assert_inside(canvas, text)


def test_an_animation_needs_a_rate(bridge, tmp_path):
    with pytest.raises(OutputError, match="fps of the rollout must be a rate above 0 Hz, got None"):
        AnimationVisualizer().draw(replace(bridge, fps=None), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_comparison_shows_observed_rollout_and_difference(bridge, tmp_path, decode):
    observed_FHWC = moving_frames(5, 384, 512)
    made_FHWC = observed_FHWC[:, :, ::-1].copy()
    rollout = replace(bridge, video=made_FHWC, action=bridge.action[:, :4], reference_video=observed_FHWC)

    [artifact] = ComparisonVisualizer().draw(rollout, tmp_path)

    stored_FHWC = decode(artifact.path)
    top, left = 126, 24
    panels = [stored_FHWC[:, top : top + 384, left + i * 524 : left + i * 524 + 512] for i in range(3)]
    assert psnr(panels[0], observed_FHWC) > 38
    assert psnr(panels[1], made_FHWC) > 38
    apart_FHW = np.abs(observed_FHWC.astype(int) - made_FHWC).mean(axis=3)
    far = apart_FHW > 0.7 * apart_FHW.max()
    assert panels[2][far].mean() > panels[2][apart_FHW < 5].mean() + 60


def test_the_difference_is_exact():
    first_HWC, second_HWC = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), np.uint8)

    heat_HWC, psnr_db = difference(first_HWC, second_HWC)

    assert psnr_db == pytest.approx(psnr(first_HWC, second_HWC), rel=1e-12)
    import matplotlib as mpl

    mean_HW = np.abs(first_HWC.astype(int) - second_HWC).sum(axis=2) // 3
    colours = mpl.colormaps["inferno"](np.clip(mean_HW / 128, 0, 1))[..., :3] * 255
    assert np.abs(heat_HWC - colours).max() <= 0.51
    assert difference(first_HWC, first_HWC)[1] is None


def labels(rollout: Rollout, count: int, total: int) -> list[str]:
    return [text.words for text in comparison_canvas(rollout, [24, 424, 824], 388, 388, count, total).texts]


def test_inverse_dynamics_is_labelled_a_reconstruction(bridge):
    said = labels(replace(bridge, mode="inverse_dynamics"), 17, 17)

    assert {"observed", "reconstruction", "absolute difference"} <= set(said)
    assert any("copy of its input, not a prediction" in w for w in said)
    assert {"observed", "rollout"} <= set(labels(bridge, 17, 17))


def test_a_shorter_reference_ends_the_film_and_the_title_says_so(bridge, tmp_path, decode):
    rollout = replace(bridge, reference_video=bridge.video[:9])

    assert len(list(comparison_frames(rollout, rollout.reference_video, rollout.video, 5.0))) == 9
    [artifact] = ComparisonVisualizer().draw(rollout, tmp_path)
    assert len(decode(artifact.path)) == 9
    assert any("the first 9 of 17 frames" in w for w in labels(bridge, 9, 17))


def test_without_a_reference_there_is_nothing_to_compare(bridge, tmp_path):
    assert ComparisonVisualizer().draw(bridge, tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_a_reference_of_another_size_is_refused(bridge, tmp_path):
    with pytest.raises(OutputError, match=r"frames of \(48, 128\), the video of \(96, 128\).*frame transform"):
        ComparisonVisualizer().draw(replace(bridge, reference_video=bridge.video[:, :48]), tmp_path)
    assert not list(tmp_path.iterdir())


VISUALIZERS = [TimeseriesVisualizer, TrajectoryVisualizer, AnimationVisualizer, ComparisonVisualizer]


def test_threads_draw_what_one_alone_draws(bridge, tmp_path):
    short = replace(bridge, video=bridge.video[:5], action=bridge.action[:, :4])
    rollouts = [replace(short, reference_video=short.video[:3]), rollout_of("umi", steps=4)]
    jobs = [(visualizer, rollout, i) for i, rollout in enumerate(rollouts) for visualizer in VISUALIZERS]

    def files(parent: str, job) -> list[bytes]:
        visualizer, rollout, index = job
        folder = tmp_path / parent / f"{visualizer.name}_{index}"
        folder.mkdir(parents=True)
        return [artifact.path.read_bytes() for artifact in visualizer().draw(rollout, folder)]

    alone = [files("alone", job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: files("together", job), jobs))

    assert sum(map(len, alone)) == 7
    assert together == alone


def test_a_full_disk_is_one_line_for_pictures_and_films(full_folder, bridge):
    rollout = replace(bridge, reference_video=bridge.video[:, :, ::-1].copy())
    (full_folder / "ballast").write_bytes(bytes(56 * 1024))
    for visualizer in VISUALIZERS:
        with pytest.raises(OutputError, match=r"^cannot write .*: the disk is full; free some space"):
            visualizer().draw(rollout, full_folder)
    assert [p.name for p in full_folder.iterdir()] == ["ballast"]


def test_importing_the_outputs_is_light_and_drawing_leaves_global_state_alone():
    program = """
import sys
from strands_diffusers.outputs import animation, comparison, serializers, timeseries, trajectory
heavy = {"matplotlib", "PIL", "torch", "diffusers", "imageio_ffmpeg", "soundfile"} & set(sys.modules)
assert not heavy, heavy
import matplotlib, numpy as np
from strands_diffusers.results import Episode, Rollout, Scored
before = dict(matplotlib.rcParams)
rollout = Rollout(mode="policy", action=np.zeros((1, 4, 3), np.float32), fps=5.0)
timeseries.timeseries_canvas(rollout).pixels()
assert dict(matplotlib.rcParams) == before
assert "torch" not in sys.modules
from matplotlib._pylab_helpers import Gcf
assert not Gcf.figs  # pyplot keeps no figure of ours alive
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


@pytest.mark.parametrize(("count", "rows", "columns"), [(2, 1, 2), (5, 2, 3), (40, 6, 6)])
def test_the_grid_shows_each_sample_in_its_cell_and_no_more_than_fit(count, rows, columns, bridge, tmp_path, decode):
    videos = [moving_frames(4, 48, 64) // 2 + 3 * i for i in range(count)]
    samples = [replace(bridge, sample=i, video=video) for i, video in enumerate(videos)]

    [artifact] = AnimationVisualizer().draw_all(samples, tmp_path)

    stored_FHWC = decode(artifact.path)
    assert (artifact.type, artifact.details["samples"]) == ("grid", min(count, 36))
    assert stored_FHWC.shape == (4, 52 * rows - 4, 68 * columns - 4, 3)
    for at, video in enumerate(videos[:36]):
        top, left = at // columns * 52, at % columns * 68
        assert psnr(stored_FHWC[:, top : top + 48, left : left + 64], video) > 30


def test_a_shorter_sample_holds_its_end_in_the_grid():
    frames = list(grid([np.full((1, 2, 2, 3), 9, np.uint8), np.zeros((3, 2, 2, 3), np.uint8)]))

    assert [frame[0, 0, 0] for frame in frames] == [9, 9, 9]


def test_there_is_no_grid_of_one_sample_or_of_samples_without_video(bridge, tmp_path):
    assert AnimationVisualizer().draw_all([replace(bridge, video=moving_frames(2, 16, 16))], tmp_path) == []
    assert AnimationVisualizer().draw_all([replace(bridge, video=None)] * 3, tmp_path) == []
