"""One call for everything: `use_diffusers(action=...)`, as plain Python, as a Strands tool, and over MCP (`plugins/mcp`)."""
