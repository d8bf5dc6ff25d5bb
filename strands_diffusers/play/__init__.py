"""`strands-diffusers play`: a person acts in a world, in the browser."""
