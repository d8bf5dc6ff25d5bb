"""`python -m experiments.serve_load {same,latency,load,kill} [...]`: see README.md."""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.serve_load import load

ECHO = [sys.executable, "-m", "experiments.serve_load.echo"]
OURS = [sys.executable, "-m", "strands_diffusers", "serve"]


@contextlib.contextmanager
def running(command: list[str], end: int = signal.SIGTERM) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and its address as ws://HOST:PORT."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while lines[-1] and "SIGTERM" not in lines[-1] and not lines[-1].startswith("http"):
            lines.append(process.stdout.readline())
        address = next(
            word.rstrip("/") for line in lines for word in line.split() if word.startswith(("ws://", "http://"))
        )
        try:
            yield process, address.replace("http", "ws")
        finally:
            process.send_signal(end)
            process.stdout.read()
            process.wait(60)


def cpu_s(pid: int) -> float:
    """User and system time of a process so far [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def client_of(address: str) -> Any:
    """The client of openpi itself."""
    from openpi_client.websocket_client_policy import WebsocketClientPolicy

    warnings.simplefilter("ignore", DeprecationWarning)
    return WebsocketClientPolicy(address)


def latency(calls: int) -> dict[str, Any]:
    """What a call costs beyond the policy's own time, for two sizes of frames."""
    found = {}
    with running([*OURS, "serve.port=0", "policy=random", "serve.session_frames=1000000"]) as (process, address):
        for height, width in ((96, 96), (480, 640)):
            client, rows = client_of(address), []
            seen = {"observation/image": np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)}
            for call in range(calls + 20):
                if call == 20:
                    begin = cpu_s(process.pid), time.process_time()
                started = time.perf_counter()
                answer = client.infer(seen)
                rows.append(1000 * (time.perf_counter() - started) - answer["server_timing"]["infer_ms"])
            used = 1000 * (cpu_s(process.pid) - begin[0]) / calls, 1000 * (time.process_time() - begin[1]) / calls
            added = np.array(rows[20:])
            found[f"{height}x{width}"] = {
                "added_ms_median": round(float(np.median(added)), 2),
                "added_ms_p95": round(float(np.percentile(added, 95)), 2),
                "cpu_ms_server": round(used[0], 2),
                "cpu_ms_client": round(used[1], 2),
            }
            client._ws.close()
    return found


def same(episodes: int, looks: int, act_steps: int) -> dict[str, Any]:
    """Episodes in the PushT simulator with openpi's client, against the same ones in process; the model's own policy."""
    from strands_diffusers import loop, testing
    from strands_diffusers.runner import job

    shared = [
        f"condition.num_looks={looks}",
        f"condition.act_steps={act_steps}",
        "policy=model",
        "policy.video=false",
        "world=pusht",
    ]
    silent = ["condition=closed_loop", "output=[]", "visualizer=[]", "metric=[]", "tracker=none"]
    differ, added, compared = [], [], 0
    with running([*OURS, "serve.port=0", *shared, "observation=pusht:500000@task:goal"]) as (_, address):
        for number in range(episodes):
            config = testing.compose(*silent, *shared, f"observation=pusht:{500000 + number}@task:goal")
            cast = job.check(config).cast
            assert cast is not None
            [rollout] = loop.run(cast)
            client, world, setting = client_of(address), cast.world, cast.setting
            seen, _ = cast.call("world", world, lambda w=world, s=setting: w.reset(s, s.config.seed))  # type: ignore[misc]
            for look in range(looks):
                started = time.perf_counter()
                answer = client.infer({"observation/image": seen, "prompt": setting.prompt})
                added.append(1000 * (time.perf_counter() - started) - answer["server_timing"]["infer_ms"])
                rows = answer["actions"]
                compared += rows.size
                if not np.array_equal(rows, rollout.episode.proposed_action[look]):
                    differ.append((number, look))
                seen = cast.call("world", world, lambda w=world, r=rows: w.step(r, act_steps)).frames[-1]  # type: ignore[misc]
            if not np.array_equal(seen, rollout.video[-1]):
                differ.append((number, "last frame"))
            client._ws.close()
            cast.close()
            print(f"table {500000 + number}: {'differs' if differ else 'the same'}", file=sys.stderr, flush=True)
    return {
        "episodes": episodes,
        "looks": looks,
        "numbers": compared,
        "different": differ,
        "added_ms_median": round(float(np.median(added)), 2),
        "added_ms_p95": round(float(np.percentile(added, 95)), 2),
    }


def under_load(clients: int, seconds: float, malformed: int) -> dict[str, Any]:
    """Clients that check every answer, nonsense, and clients killed with -9 all the while; SIGTERM at the end."""
    killer = (
        "import sys, asyncio; from experiments.serve_load import load; "
        "asyncio.run(load.policy_client(sys.argv[1], 7, load.Ledger(), 1e18, 0.0))"
    )

    async def killing(address: str) -> int:
        end, killed = asyncio.get_running_loop().time() + seconds - 3, 0
        while asyncio.get_running_loop().time() < end:
            victim = await asyncio.create_subprocess_exec(sys.executable, "-c", killer, address)
            await asyncio.sleep(min(8.0, seconds / 4))
            victim.kill()
            await victim.wait()
            killed += 1
        return killed

    async def everything(address: str, pid: int) -> tuple[load.Ledger, int]:
        whole = await asyncio.gather(load.under_load(address, pid, clients, seconds, malformed, 0.4), killing(address))
        return whole[0], whole[1]

    with running([*ECHO, "0"]) as (process, address):
        ledger, killed = asyncio.run(everything(address, process.pid))
        used = cpu_s(process.pid)
    memory = ledger.rss_mb
    return {
        "clients": clients,
        "seconds": seconds,
        "sent": ledger.sent,
        "answered": ledger.answered,
        "refused": dict(ledger.refused),
        "wrong": ledger.wrong[:10],
        "malformed": sum(ledger.malformed.values()),
        "malformed_by_kind": dict(sorted(ledger.malformed.items())),
        "clients_killed": killed,
        "rss_mb_every_tenth": [round(memory[i * (len(memory) - 1) // 10], 1) for i in range(11)],
        "server_cpu_ms_per_answer": round(1000 * used / max(ledger.answered, 1), 2),
        "exit_status": process.returncode,
    }  # fmt: skip


def kill(times: int) -> dict[str, Any]:
    """Server killed with -9 under our own client: one line, or, with a server there again, the same look answered."""
    from experiments.serve_load.echo import cast
    from strands_diffusers import Look, errors
    from strands_diffusers.policies.server import ServerPolicy

    setting, said, went_on = cast().setting, [], 0
    look = Look(0, load.frame(3)[None], np.zeros((0, 2), np.float32), "Echo.", 0)
    for _ in range(times):
        with running([*ECHO, "0"], signal.SIGKILL) as (process, address):
            policy = ServerPolicy(ServerPolicy.Config(address=address, reconnects=0, connect_s=2.0))
            policy.reset(setting, 0)
            policy.act(look)
            process.kill()
            process.wait()
            try:
                policy.act(look)
            except errors.RolloutError as error:
                said.append(str(error).replace(address, "ADDRESS"))
            policy.close()
        patient = ServerPolicy(ServerPolicy.Config(address=address, reconnects=20, connect_s=2.0))
        patient.reset(setting, 0)
        with running([*ECHO, address.rpartition(":")[2]]):
            went_on += len(patient.act(look).actions) == 16
            patient.close()
    return {"killed": times, "said": sorted(set(said)), "went_on": went_on}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.serve_load", description=__doc__)
    parser.add_argument("what", choices=["same", "latency", "load", "kill"])
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--looks", type=int, default=12)
    parser.add_argument("--act-steps", type=int, default=8)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--malformed", type=int, default=1000)
    options = parser.parse_args()
    found = {
        "same": lambda: same(options.episodes, options.looks, options.act_steps),
        "latency": lambda: latency(options.calls),
        "load": lambda: under_load(options.clients, options.seconds, options.malformed),
        "kill": lambda: kill(3),
    }[options.what]()
    found["cpu_s_here"] = round(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), 1)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
