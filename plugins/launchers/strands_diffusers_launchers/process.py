"""A worker process of the pool: `python -m strands_diffusers_launchers.process FD PARENT`, started by `pool`."""

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

INTERRUPTED = 143
"""Exit status of a worker that dropped its job on request."""


def main() -> None:
    """Run jobs until the parent hangs up."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(descriptor, False)  # an encoder that outlives this process must not keep the line open
    _die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, _interrupt)
    faulthandler.enable()
    connection = Connection(descriptor)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            _serve(connection)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


def _serve(connection: Connection) -> None:
    content = connection.recv_bytes()  # before the slow imports: the parent waits until it is taken
    from strands_diffusers_launchers.work import JobRunner

    runner = JobRunner(content)
    while (job := connection.recv()) is not None:
        connection.send(runner.do(job, connection.send))


def _interrupt(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: closing files must not be interrupted
    raise KeyboardInterrupt


def _die_with(parent: int) -> None:
    """End with the parent, however it ends. On Linux the kernel sees to it; elsewhere a thread looks every second."""
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        watch(parent)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def watch(parent: int) -> None:
    """Start a thread that ends this process within a second of its parent."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


if __name__ == "__main__":
    main()
