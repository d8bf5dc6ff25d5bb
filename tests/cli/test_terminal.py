"""The table at a job's end: every value, with unit and direction, and baselines that do not pass for results."""

from pathlib import Path

from strands_diffusers.cli import terminal
from strands_diffusers.metrics.action import ActionMetric
from strands_diffusers.metrics.video import VideoMetric
from strands_diffusers.records import Record
from strands_diffusers.runner.progress import Row


def test_every_declared_value_is_a_line_or_a_baseline_behind_its_own():
    classes = {"video": VideoMetric, "action": ActionMetric}
    measured = {name: dict.fromkeys(cls.measures, 0.5) for name, cls in classes.items()}

    lines = terminal.metric_lines(Record(Path("job"), metrics=measured))

    firsts = {line.split()[0] for line in lines}
    declared = {(name, value): measure for name, cls in classes.items() for value, measure in cls.measures.items()}
    assert firsts == {f"{name}.{value}" for (name, value), measure in declared.items() if not measure.baseline}
    assert sum(line.count(" 0.5") for line in lines) == len(declared)
    assert len(lines) > 8


def test_a_value_has_its_unit_its_baselines_and_which_way_is_better():
    values = {
        "psnr": 27.3, "psnr_repeat_first_frame": 24.5, "psnr_moving": 12.2, "psnr_moving_repeat_first_frame": 8.063,
        "frames": 16.0,
    }  # fmt: skip

    lines = terminal.metric_lines(Record(Path("job"), metrics={"video": values}))

    assert [" ".join(line.split()) for line in lines] == [
        "video.psnr 27.3 dB (repeat first frame 24.5, higher is better)",
        "video.psnr_moving 12.2 dB (repeat first frame 8.063, higher is better)",
        "video.frames 16 frames",
    ]


def test_values_of_a_metric_whose_plugin_is_gone_are_all_shown_plainly():
    lines = terminal.metric_lines(Record(Path("job"), metrics={"gone": {"x": 1.0, "x_y": 2.0}}))

    assert [line.split() for line in lines] == [["gone.x", "1"], ["gone.x_y", "2"]]


def test_a_baseline_without_its_value_is_not_lost():
    lines = terminal.metric_lines(Record(Path("job"), metrics={"video": {"psnr_repeat_first_frame": 24.5}}))

    assert [line.split()[:2] for line in lines] == [["video.psnr_repeat_first_frame", "24.5"]]


def test_what_a_preset_sweeps_is_shown_as_one_would_type_it():
    rows = [Row(str(i), "done", (rf"observation=pusht\:{i}@task\:goal",)) for i in range(2)]

    lines = terminal.sweep_table(Path("sweep"), rows).splitlines()

    assert lines[1:] == ["     0  done  observation=pusht:0@task:goal", "     1  done  observation=pusht:1@task:goal"]
