"""The only door to diffusers: load a pipeline, condition it, run it, turn its output into rollouts."""

import os

# Idle OpenMP threads that spin take the cores from everything else on a busy CPU: the embedded model's rollout was four
# times faster with two waiting processes beside it. Takes effect if torch was not imported before.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
