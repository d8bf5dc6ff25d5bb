"""Several commands, each in a process of its own: forked from one that imports once what all of them need."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import NamedTuple

PROGRAM = """
import importlib, json, os, sys, tempfile

modules, commands = json.load(sys.stdin)
for name in modules:
    importlib.import_module(name)
done = []
for words, environment in commands:
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        if (child := os.fork()) == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.environ.clear()
            os.environ.update(environment)
            sys.path[:0] = [p for p in environment.get("PYTHONPATH", "").split(os.pathsep) if p not in sys.path]
            sys.argv[1:] = words
            importlib.import_module("strands_diffusers.cli").main()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        done.append([status, *(file.seek(0) or file.read() for file in (out, err))])
json.dump(done, sys.stdout)
"""
LIGHT = ("hydra", "strands_diffusers.cli.run", "strands_diffusers.cli.verbs", "strands_diffusers.plugin.manager")
HEAVY = (*LIGHT, "torch", "diffusers", "transformers", "strands_diffusers.pipelines.pretrained")


class Done(NamedTuple):
    """What a command ended with."""

    returncode: int
    stdout: str
    stderr: str


def run_all(*commands: tuple[tuple[str, ...], Mapping[str, str]], modules: tuple[str, ...] = LIGHT) -> list[Done]:
    """Run commands one after the other, each given by its words and its environment."""
    task = json.dumps([modules, [[words, dict(environment)] for words, environment in commands]])
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, input=task, capture_output=True, text=True, timeout=300, check=True)
    return [Done(*each) for each in json.loads(done.stdout)]
