import subprocess
import sys

import pytest

pytest.importorskip("strands", reason="the extra strands is not installed: pip install strands-agents")

pytestmark = [pytest.mark.timeout(240), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def agent():
    """An agent of the Strands SDK with our tool and a model that is never called."""
    from strands import Agent
    from strands.models import Model

    from strands_diffusers import use_diffusers

    class NoModel(Model):
        def update_config(self, **config):
            raise AssertionError("the model was called")

        def get_config(self):
            return {}

        async def stream(self, *args, **kwargs):
            raise AssertionError("the model was called")
            yield

        async def structured_output(self, *args, **kwargs):
            raise AssertionError("the model was called")
            yield

    return Agent(model=NoModel(), tools=[use_diffusers], callback_handler=None)


def test_the_sdks_own_tool_call_works_without_a_language_model(agent) -> None:
    reply = agent.tool.use_diffusers(action="wfm")
    assert reply["status"] == "success"
    assert "toolUseId" in reply
    assert "Cosmos3OmniPipeline" in reply["content"][0]["text"]
    assert agent.tool.use_diffusers(action="wfmm")["status"] == "error"


def test_the_tool_describes_every_argument(agent) -> None:
    spec = agent.tool_registry.get_all_tools_config()["use_diffusers"]
    properties = spec["inputSchema"]["json"]["properties"]
    assert len(properties) == 13
    assert all(entry.get("description") for entry in properties.values())
    assert not spec["inputSchema"]["json"].get("required")


def test_a_rollout_through_the_sdk(agent, artifacts) -> None:
    parameters = {"tracker": "none", "metric": [], "visualizer": [], "sampler": {"num_inference_steps": 1}}
    reply = agent.tool.use_diffusers(action="rollout", parameters=parameters)
    assert reply["status"] == "success", reply
    assert str(artifacts) in reply["content"][0]["text"]


def test_the_tool_is_called_plainly_too() -> None:
    from strands_diffusers import use_diffusers

    assert use_diffusers(action="wfm")["status"] == "success"
    assert use_diffusers("schedulers")["status"] == "success"


def test_the_command_line_does_not_import_strands() -> None:
    program = (
        "import sys\nfrom strands_diffusers.cli import main\n"
        "try: main(['wfm'])\nexcept SystemExit: pass\nassert 'strands' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
