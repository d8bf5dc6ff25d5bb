"""The template works: its files hold what they say, and its choices are typed."""

import csv

import numpy as np
import pytest
from PIL import Image
from strands_diffusers_example import CsvSerializer, FilmstripVisualizer

from strands_diffusers import ActionSpace, Rollout
from strands_diffusers.config import compose
from strands_diffusers.errors import ConfigError


def test_the_csv_has_one_named_column_a_dimension(tmp_path):
    action_KTD = np.arange(32, dtype=np.float32).reshape(1, 16, 2)

    [artifact] = CsvSerializer().save(Rollout("policy", action=action_KTD, space=ActionSpace("pusht")), tmp_path)

    header, *rows = csv.reader(artifact.path.read_text().splitlines())
    assert header == ["target_x", "target_y"]
    np.testing.assert_array_equal(np.float32(rows), action_KTD[0])


def test_the_filmstrip_shows_every_nth_frame(tmp_path):
    video_FHWC = np.random.default_rng(0).integers(0, 255, (9, 16, 20, 3), dtype=np.uint8)

    [artifact] = FilmstripVisualizer(FilmstripVisualizer.Config(every=4)).draw(
        Rollout("policy", video=video_FHWC), tmp_path
    )

    np.testing.assert_array_equal(np.asarray(Image.open(artifact.path))[:, 20:40], video_FHWC[4])


def test_its_choices_are_typed_hydra_options():
    config = compose.compose(["output=[csv]", "visualizer=[filmstrip]", "visualizer.filmstrip.every=2"])

    assert config.visualizer["filmstrip"].every == 2
    with pytest.raises(ConfigError, match=r"visualizer\.filmstrip\.every=two must be a whole number"):
        compose.compose(["visualizer=[filmstrip]", "visualizer.filmstrip.every=two"])
