"""What `strands_diffusers.use_diffusers` is: a Strands tool where strands-agents is installed, else the plain function.

Both are called the same way. strands-agents is imported here and nowhere else, so that only who has it pays for it.
"""

from typing import Any

from strands_diffusers.api import tool

use_diffusers: Any = tool.use_diffusers
try:
    from strands import tool as strands_tool
except ImportError:  # not installed, or another package of that name
    pass
else:
    use_diffusers = strands_tool(tool.use_diffusers)
