"""Where Hydra looks for launchers; the code is in the package `strands_diffusers_launchers`."""
