"""Overrides of the quickest rollout: one step, actions alone, nothing drawn, measured or logged."""

BARE = (
    "sampler.num_inference_steps=1",
    "sampler.guidance_scale=1",
    "tracker=none",
    "visualizer=[]",
    "metric=[]",
    "output=[action]",
)


def bare(*overrides: str) -> list[str]:
    """`BARE` and these overrides, which take the place of its own."""
    given = {override.partition("=")[0] for override in overrides}
    return [*(o for o in BARE if o.partition("=")[0] not in given), *overrides]
