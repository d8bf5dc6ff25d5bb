"""`python -m strands_diffusers` is the command `strands-diffusers`."""

from strands_diffusers.cli import main

main()
