"""The only door to diffusers: load a pipeline, condition it, run it, turn its output into rollouts."""
