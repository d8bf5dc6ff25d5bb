"""PushT for strands_diffusers: simulator, scripted expert, closed loop, and a source of observations."""
