"""The package keeps the rules, its files hold what they say, and its choices are typed."""

import csv

import numpy as np
import pytest
import strands_diffusers_example
from PIL import Image
from strands_diffusers_example import CsvSerializer, FilmstripVisualizer

from strands_diffusers import testing
from strands_diffusers.errors import ConfigError


def test_it_keeps_the_rules_of_a_plugin():
    testing.check_plugin(strands_diffusers_example)


def test_the_csv_has_one_named_column_a_dimension(tmp_path):
    rollout = testing.rollouts()["policy"]

    [artifact] = CsvSerializer().save(rollout, tmp_path)

    header, *rows = csv.reader(artifact.path.read_text().splitlines())
    assert header == ["target_x", "target_y"]
    np.testing.assert_array_equal(np.float32(rows), rollout.action[0])


def test_the_filmstrip_shows_every_nth_frame(tmp_path):
    rollout = testing.rollouts()["text"]

    [artifact] = FilmstripVisualizer(FilmstripVisualizer.Config(every=8)).draw(rollout, tmp_path)

    np.testing.assert_array_equal(np.asarray(Image.open(artifact.path))[:, 64:128], rollout.video[8])


def test_its_choices_are_typed_options():
    chosen = ["output=[example_csv]", "visualizer=[example_filmstrip]"]

    assert testing.compose(*chosen, "visualizer.example_filmstrip.every=2").visualizer["example_filmstrip"].every == 2
    with pytest.raises(ConfigError, match=r"every=two must be a whole number"):
        testing.compose(*chosen, "visualizer.example_filmstrip.every=two")
    with pytest.raises(ConfigError, match="must be 1 or more"):
        testing.compose(*chosen, "visualizer.example_filmstrip.every=0")
