"""What `strands_diffusers.use_diffusers` is: a Strands tool where strands-agents is installed, else the plain function.

Both are called the same way. strands-agents is imported here and nowhere else, so that only who has it pays for it.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from strands_diffusers.api import tool

use_diffusers: Any = tool.use_diffusers
try:
    from strands import ToolContext
    from strands import tool as strands_tool
except ImportError:  # not installed, or another package of that name
    pass
else:

    def _for_strands(*given: Any, tool_context: ToolContext | None = None, **arguments: Any) -> dict[str, Any]:
        if tool_context is not None:  # an agent calls, and its user may cancel it
            arguments["cancel"] = tool_context.cancel_signal.is_set
        return tool.use_diffusers(*given, **arguments)

    def _described(kind: Any, text: str, choices: Sequence[str]) -> Any:
        return Annotated[Literal[tuple(choices)] if choices else kind, text]  # type: ignore[valid-type]

    use_diffusers = strands_tool(context=True)(tool.for_agents(_for_strands, _described, tool_context=ToolContext))
