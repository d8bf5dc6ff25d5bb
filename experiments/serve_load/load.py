"""Many clients that check every answer, among ones that send nonsense, stall and vanish."""

import asyncio
import contextlib
import random
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from experiments.serve_load.echo import SIDE

STOPPING = 1012
"""Code with which a server that ends closes a connection."""


@dataclass
class Ledger:
    """What became of every request."""

    sent: int = 0
    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Answers that are text, by their line."""

    wrong: list[str] = field(default_factory=list)
    """Answers that were another's, out of order, or missing."""

    malformed: Counter[str] = field(default_factory=Counter)
    """Malformed messages by kind and what came back: `line`, `closed 1009`, ..."""

    rss_mb: list[float] = field(default_factory=list)
    """Resident memory of the server, once a second [MB]."""


def packed(value: Any) -> bytes:
    """A message as openpi's protocol has it."""

    def encoded(item: Any) -> Any:
        return {b"__ndarray__": True, b"data": item.tobytes(), b"dtype": item.dtype.str, b"shape": list(item.shape)}

    return msgpack.packb(value, default=encoded)  # type: ignore[no-any-return]


def array(item: Any) -> np.ndarray:
    """An array of an answer."""
    return np.frombuffer(item[b"data"], item[b"dtype"]).reshape(item[b"shape"])


def frame(number: int) -> np.ndarray:
    """A frame that holds a client's number."""
    image = np.full((SIDE, SIDE, 3), 127, np.uint8)
    image[0, :2, 0] = divmod(number, 256)
    return image


async def policy_client(address: str, number: int, ledger: Ledger, until: float, pause_s: float) -> None:
    """Looks, each of which must be answered to this client, in order."""
    clock, message, look = asyncio.get_running_loop().time, packed({"observation/image": frame(number)}), 0
    async with connect(address, compression=None, max_size=None) as socket:
        await socket.recv()
        while clock() < until:
            answer = await _ask(socket, message, ledger)
            if isinstance(answer, dict):
                row = array(answer["actions"])[0]
                if not np.allclose(row, [look % 1000 / 1000, number / 1000], atol=1e-6):
                    ledger.wrong.append(f"client {number}, look {look}: {row.tolist()}")
                look += 1
            await asyncio.sleep(random.uniform(0, 2 * pause_s))


async def world_client(address: str, number: int, ledger: Ledger, until: float, pause_s: float) -> None:
    """An episode whose frames and states must be this client's."""
    clock, steps, mine = asyncio.get_running_loop().time, 0, frame(number)
    message = packed({"type": "step", "actions": np.zeros((16, 2), np.float32), "num_steps": 8})
    async with connect(f"{address}/world", compression=None, max_size=None) as socket:
        await socket.recv()
        await _ask(socket, packed({"type": "reset", "frame": mine}), ledger)
        while clock() < until:
            answer = await _ask(socket, message, ledger)
            if isinstance(answer, dict):
                steps += 8
                if not (array(answer["frames"]) == mine).all() or answer["states"][-1] != {"steps": steps}:
                    ledger.wrong.append(f"world {number}, step {steps}: {answer['states'][-1]}")
            await asyncio.sleep(random.uniform(0, 2 * pause_s))


async def _ask(socket: Any, message: bytes, ledger: Ledger) -> dict[str, Any] | str | None:
    await socket.send(message)
    ledger.sent += 1
    try:
        answer = await socket.recv()
    except ConnectionClosed as closed:
        if closed.rcvd and closed.rcvd.code == STOPPING:
            ledger.refused[f"closed with code {STOPPING}"] += 1
        else:
            ledger.wrong.append(f"closed: {closed}")
        raise
    if isinstance(answer, str):
        ledger.refused[answer] += 1
        return answer
    ledger.answered += 1
    return msgpack.unpackb(answer)  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------------------ nonsense

IMAGE = frame(1)
NESTED = b"\x91" * 100_000 + b"\xc0"


def malformed(rng: random.Random) -> tuple[str, Any]:
    """A kind, and the message; for `truncated`, `slow` and `vanished` what is done on the bare socket."""
    kind = rng.choice(
        [
            "key",
            "type",
            "shape",
            "dtype",
            "size",
            "text",
            "bytes",
            "nested",
            "items",
            "values",
            "big",
            "truncated",
            "slow",
            "vanished",
        ]
    )
    if kind == "big" and rng.random() < 0.8:
        kind = "shape"  # 20 MB each
    sides = [rng.choice([0, 1, 15, 17, 4097]) for _ in range(rng.choice([2, 3, 4]))]
    encoded = {
        b"__ndarray__": True,
        b"data": b"x" * rng.randrange(50),
        b"dtype": rng.choice(["|u1", "<f4", "|O", "V8", "?!"]),
    }
    values: list[Any] = [-1, "x", 2**63, [1], {"a": IMAGE}, float("nan")]
    content: dict[str, Any] = {
        "key": lambda: packed({rng.choice(["image", "", "observation", "prompt"]): IMAGE}),
        "type": lambda: packed({"observation/image": rng.choice([None, 1, "x", [1, 2], {"a": 1}, b"x", 0.5, True])}),
        "shape": lambda: packed({"observation/image": np.zeros(sides[:2] + [min(s, 9) for s in sides[2:]], np.uint8)}),
        "dtype": lambda: packed({"observation/image": IMAGE.astype(rng.choice([np.float32, np.int64, bool]))}),
        "size": lambda: packed({"observation/image": {**encoded, b"shape": [rng.choice([-1, 0, 3, 10**12]) for _ in range(3)]}}),
        "text": lambda: rng.choice(["", "hello", "{}", "\u20ac" * 9]),
        "bytes": lambda: rng.randbytes(rng.randrange(200)),
        "nested": lambda: NESTED[rng.randrange(99_000) :],
        "items": lambda: packed({"a": [[0] * 1000] * 300}),
        "values": lambda: packed({"observation/image": IMAGE, rng.choice(["prompt", "seed", "reset"]): rng.choice(values)}),
        "big": lambda: bytes(20_000_000),
    }  # fmt: skip
    return kind, content[kind]() if kind in content else None


async def nonsense(address: str, number: int, seed: int, ledger: Ledger, pause_s: float = 0.0) -> None:
    """Send `number` malformed messages, each of which must cost one line or its own connection."""
    rng, sent = random.Random(seed), 0
    while sent < number:
        path = rng.choice(["", "/world"])
        with contextlib.suppress(ConnectionClosed, OSError):
            async with connect(address + path, compression=None, max_size=None, close_timeout=1) as socket:
                await socket.recv()
                while sent < number:
                    kind, message = malformed(rng)
                    sent += 1
                    if message is None:
                        await _bare(kind, socket, path, rng)
                        ledger.malformed[f"{kind}: connection ended"] += 1
                        break
                    try:
                        await socket.send(message)
                        answer = await asyncio.wait_for(socket.recv(), 30)
                    except ConnectionClosed as closed:
                        ledger.malformed[f"{kind}: closed {closed.rcvd.code if closed.rcvd else 'without a word'}"] += 1
                        break
                    if isinstance(answer, bytes):  # `prompt: x` is no fault
                        ledger.malformed[f"{kind}: answered"] += 1
                    elif "\n" in answer or len(answer) > 500:
                        ledger.wrong.append(f"{kind}: {answer[:200]!r}")
                    else:
                        ledger.malformed[f"{kind}: one line"] += 1
                    await asyncio.sleep(rng.uniform(0, 2 * pause_s))


async def _bare(kind: str, socket: Any, path: str, rng: random.Random) -> None:
    """End the connection in the middle of a message, or of an answer."""
    transport = socket.transport
    if kind == "vanished":
        await socket.send(packed({"observation/image": IMAGE} if not path else {"type": "reset"}))
    else:
        transport.write(b"\x82\xfe" + struct.pack(">H", 4096) + b"mask" + rng.randbytes(rng.randrange(1000)))
        for _ in range(8 if kind == "slow" else 0):
            await asyncio.sleep(0.1)
            transport.write(rng.randbytes(1))
    transport.abort()


async def watch(pid: int, ledger: Ledger, until: float) -> None:
    """The server's memory, once a second."""
    while asyncio.get_running_loop().time() < until:
        with contextlib.suppress(OSError):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            ledger.rss_mb.append(pages * 4096 / 1e6)
        await asyncio.sleep(1)


async def under_load(
    address: str, pid: int, clients: int, seconds: float, malformed: int, pause_s: float, seed: int = 0
) -> Ledger:
    """The whole load against a server that runs: a quarter of the clients act in its world, the others ask its policy."""
    ledger = Ledger()
    until = asyncio.get_running_loop().time() + seconds
    work = [watch(pid, ledger, until)]
    for number in range(clients):
        client = world_client if number % 4 == 0 else policy_client
        work.append(client(address, 1000 + number, ledger, until, pause_s))
    senders = min(4, -(-malformed // 10))
    each = malformed // max(senders, 1)
    work += [nonsense(address, each, seed + n, ledger, seconds / each / 3) for n in range(senders)]
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, ConnectionClosed | InvalidHandshake):
            raise result
    return ledger
