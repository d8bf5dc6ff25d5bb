"""Checkpoints like the embedded one are judged with the sampler that the embedded model's preset recommends."""

from __future__ import annotations

import inspect
from pathlib import Path

from omegaconf import OmegaConf

from experiments.pusht_quality.world import World
from experiments.train_pusht.export import ExportConfig

HERE = Path(__file__).parent
RECOMMENDED = OmegaConf.load(HERE.parents[1] / "conf" / "model" / "cosmos3_pusht.yaml").recommended


def test_every_copy_of_the_recommended_sampler_is_the_preset_s() -> None:
    policy = RECOMMENDED.policy
    assert inspect.signature(World).parameters["flow_shift"].default == policy.flow_shift == ExportConfig().flow_shift
    script = (HERE / "tables.sh").read_text()
    for given, name in (("policy", "policy"), ("dynamics", "forward_dynamics"), ("dynamics", "inverse_dynamics")):
        values = RECOMMENDED[name]
        text = ",".join(f"{key}:{values[key]}" for key in ("num_inference_steps", "flow_shift", "guidance_scale"))
        assert f"{given}='{text}'" in script
    for program in "__main__.py", "steps.py":
        assert f'"--guidance", type=float, default={policy.guidance_scale}' in (HERE / program).read_text()
