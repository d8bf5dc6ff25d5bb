"""A short run of the load that experiments/serve_load puts on a server for two minutes."""

import asyncio
import os

import pytest

pytest.importorskip("experiments", reason="experiments are run from the checkout")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

from experiments.serve_load import echo, load
from strands_diffusers.serve import command


@pytest.mark.slow
def test_no_answer_is_lost_or_another_s_among_clients_that_send_nonsense_stall_and_vanish(caplog):
    with command.server(echo.Options(port=0, max_message_mb=4.0), echo.cast()) as server:
        address = server.address.replace("http", "ws")
        ledger = asyncio.run(load.under_load(address, os.getpid(), clients=12, seconds=3, malformed=80, pause_s=0.1))

    assert ledger.wrong == []
    assert ledger.sent == ledger.answered > 100
    assert not ledger.refused
    assert sum(ledger.malformed.values()) == 80
    assert len({kind.partition(":")[0] for kind in ledger.malformed}) > 8
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.slow
def test_a_server_that_ends_under_load_answers_what_it_took_and_tells_everyone_else(caplog):
    async def stopped_midway(server):
        asyncio.get_running_loop().call_later(1, server.stop)
        address = server.address.replace("http", "ws")
        return await load.under_load(address, os.getpid(), clients=16, seconds=3, malformed=0, pause_s=0.0)

    with command.server(echo.Options(port=0), echo.cast()) as server:
        ledger = asyncio.run(stopped_midway(server))

    assert ledger.wrong == []
    assert ledger.sent == ledger.answered + sum(ledger.refused.values())
    assert set(ledger.refused) <= {"the server is stopping.", "closed with code 1012"}
    assert ledger.refused["the server is stopping."] > 0
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
