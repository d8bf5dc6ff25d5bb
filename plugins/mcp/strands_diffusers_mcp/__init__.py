"""`use_diffusers` for any MCP client: `strands-diffusers-mcp`, or `python -m strands_diffusers_mcp`."""

from strands_diffusers_mcp.server import main

__all__ = ["main"]
