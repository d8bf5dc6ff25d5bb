"""What a request says of itself before anything loads."""

import numpy as np

from strands_diffusers.config.compose import compose
from strands_diffusers.pipelines.request import make_request
from strands_diffusers.results import Observation


def test_actions_mostly_out_of_range_are_pointed_out_with_what_to_type(tmp_path):
    rows_TD = np.random.default_rng(0).uniform(-3, 3, (16, 2)).astype(np.float32)
    frames = np.full((17, 96, 96, 3), 255, np.uint8)
    config = compose(["condition=forward_dynamics", "observation=x.mp4", "prompt=push"])

    notes = make_request(config, Observation(frames, 10.0, rows_TD, source="x.mp4")).notes
    calm = make_request(config, Observation(frames, 10.0, rows_TD / 3, source="x.mp4")).notes

    [said] = [note for note in notes if "% of the values" in note]
    assert said.startswith("the actions of observation x.mp4: ")
    assert said.endswith("Use domain=NAME for theirs (strands-diffusers domains).")
    assert [note for note in calm if "% of the values" in note] == []
