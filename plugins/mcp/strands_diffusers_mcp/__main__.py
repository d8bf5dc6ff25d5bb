"""`python -m strands_diffusers_mcp`."""

from strands_diffusers_mcp import main

main()
