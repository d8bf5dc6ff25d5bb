"""How well does `strands-diffusers adapt` adapt? PushT with another table, other physics, other actions."""
