"""`strands-diffusers serve` as a process of its own, with the embedded model: what docs/serving.md promises."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from doc_blocks import ROOT, blocks, ours

pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

from strands_diffusers import Look, errors, loop, testing
from strands_diffusers.policies.server import ServerPolicy
from strands_diffusers.runner import job
from strands_diffusers.serve import command

PAGE = blocks(ROOT / "docs" / "serving.md")
FEW = ("policy.sampler.num_inference_steps=1", "policy.video=false", "world.sampler.num_inference_steps=1")


@contextlib.contextmanager
def process(*overrides, **environment):
    """A server in a process of its own, and its address once it is warm."""
    with subprocess.Popen(
        [sys.executable, "-m", "strands_diffusers", "serve", "serve.port=0", *overrides],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
    ) as running:  # fmt: skip
        try:
            lines = [running.stdout.readline() for _ in range(3)]
            assert "SIGTERM" in lines[-1], running.stderr.read()
            yield running, next(word for word in lines[0].split() if word.startswith("ws://")).rstrip("/")
        finally:
            running.kill()


@pytest.mark.parametrize(
    "words",
    [w for b in PAGE if b.language == "bash" for c in b.commands() for w in ours(c)],
    ids=lambda words: words[1],
)
def test_every_command_of_the_page_is_composed(words, monkeypatch):
    from strands_diffusers.config import compose, options
    from strands_diffusers.plugin.choices import prepare
    from strands_diffusers.serve.options import ServeConfig

    if "pusht:" in " ".join(words):
        pytest.importorskip("strands_diffusers_pusht")
    prepare()
    rest = words
    if words[0] == "serve":
        config, rest = options.split("serve", ServeConfig, words[1:])
        assert config.node == "serve"
        rest = [*command.FIXED, *rest]
    compose.compose(rest)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")
def test_the_model_answers_as_in_process_and_sigterm_and_kill_are_survived():
    """The page's own client, the same actions to the bit; SIGTERM: status 0; kill -9: one line for a client of ours."""
    pytest.importorskip("openpi_client")
    [program] = [block.text for block in PAGE if block.language == "python"]
    silent = (
        "condition=closed_loop",
        "output=[]",
        "visualizer=[]",
        "metric=[]",
        "tracker=none",
        "condition.num_looks=1",
    )
    cast = job.check(testing.compose(*silent, *FEW, "prompt=Push the T block to the left.")).cast
    [rollout] = loop.run(cast)
    with process(*FEW) as (running, address):
        scope = {"frame": rollout.video[0]}
        exec(program.replace("8000", address.rpartition(":")[2]), scope)
        np.testing.assert_array_equal(scope["answer"]["actions"], rollout.episode.proposed_action[0])
        scope["client"]._ws.close()
        connection = http.client.HTTPConnection(address.removeprefix("ws://"), timeout=10)
        connection.request("GET", "/metrics")
        assert 'requests_total{endpoint="policy",outcome="ok"} 1.0' in connection.getresponse().read().decode()
        connection.close()
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
        assert running.stdout.read() == "stopped\n"
        assert running.stderr.read() == ""

    with process("policy=random", "world=model", FEW[2]) as (running, address):
        policy = ServerPolicy(ServerPolicy.Config(address=address, reconnects=0, connect_s=5.0))
        policy.reset(cast.setting, 0)
        look = Look(0, rollout.video[:1], np.zeros((0, 2), np.float32), "Push.", 0)
        assert policy.act(look).actions.shape == (16, 2)
        running.kill()
        running.wait()
        with pytest.raises(errors.RolloutError, match=r"closed the connection|cannot connect") as caught:
            policy.act(look)
        assert "\n" not in str(caught.value)
        policy.close()
