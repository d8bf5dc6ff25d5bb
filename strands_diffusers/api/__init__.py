"""`use_diffusers`: one call for agents and scripts."""
