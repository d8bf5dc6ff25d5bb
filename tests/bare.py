"""Overrides of the quickest rollout: one step, actions alone, nothing drawn, measured or logged."""

BARE = (
    "sampler.num_inference_steps=1",
    "sampler.guidance_scale=1",
    "tracker=none",
    "visualizer=[]",
    "metric=[]",
    "output=[action]",
)
