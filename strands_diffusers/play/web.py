"""The page of a session and what it asks for: HTTP around `session.Session`, which does one thing at a time."""

from __future__ import annotations

import asyncio
import base64
import functools
import importlib.resources
import io
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from strands_diffusers import actions
from strands_diffusers.errors import RequestError, StrandsDiffusersError, clean, one_line
from strands_diffusers.lazy import np
from strands_diffusers.play.options import PlayConfig
from strands_diffusers.play.session import Moment, Session
from strands_diffusers.serve.app import Server, Stopping, application

T = TypeVar("T")
log = logging.getLogger(__name__)

MAX_BODY = 64_000
"""Bytes of a request; an input is some hundred."""

LOSSLESS = 256 * 256
"""Frames of up to so many pixels are sent as PNG, larger ones as JPEG."""

FILES = {
    "": ("strands_diffusers.play", "play.html", "text/html"),
    "play.css": ("strands_diffusers.play", "play.css", "text/css"),
    "play.js": ("strands_diffusers.play", "play.js", "text/javascript"),
    "page.css": ("strands_diffusers.report", "page.css", "text/css"),
    **{f"{name}.js": ("strands_diffusers.play", f"{name}.js", "text/javascript") for name in ("stage", "tree", "pads")},
}
"""What the page is made of: its own files, and the style that it shares with the report."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class BusyError(StrandsDiffusersError):
    """Another input is being worked on."""


class Door:
    """The routes of one session."""

    def __init__(self, session: Session, stopping: Stopping) -> None:
        self.session, self.stopping = session, stopping
        self.last_asked = time.monotonic()
        self._busy = False
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="play")  # the model's and simulators' own thread

    def routes(self) -> list[Any]:
        """What may be asked for."""
        return [
            Route("/favicon.ico", lambda request: Response(status_code=204)),
            *(Route(f"/{name}", functools.partial(self._file, name)) for name in FILES),
            Route("/session", self._answer(self._session)),
            Route("/moment/{number:int}", self._answer(self._moment)),
            Route("/act", self._answer(self._act), methods=["POST"]),
            Route("/do", self._answer(self._do), methods=["POST"]),
            Route("/save", self._answer(self._save), methods=["POST"]),
            Route("/restart", self._answer(self._restart), methods=["POST"]),
            Route("/saved/{name}/{path:path}", self._saved),
        ]

    def worked(self, call: Callable[..., T], *arguments: Any) -> T:
        """What a call of the session returns, in its thread; for the time before the server runs."""
        return self._worker.submit(call, *arguments).result()

    def close(self) -> None:
        """End the worker; the session's world is let go of."""
        self._worker.submit(self.session.close)
        self._worker.shutdown()

    # ------------------------------------------------------------------------------------------------- answers

    async def _session(self, request: Request) -> dict[str, Any]:
        session = self.session
        start, setting = session.moments[0], session.setting
        return {
            "model": session.config.model.name,
            "world": session.cast.world.name,
            "truth": session.cast.reference.name if session.cast.reference else "",
            "source": setting.observation.source,
            "task": setting.prompt,
            "tasks": session.tasks(),
            "fps": setting.fps,
            "steps": setting.act_steps,
            "controls": session.controls.described(session.held(start)),
            "policies": [
                {"name": name, "summary": each.summary, "refusal": each.refusal}
                for name, each in session.offered().items()
            ],
            "notes": list(session.notes),
            "moments": [self._facts(moment) for moment in session.moments],
            "start": self._shown(start),
        }

    async def _moment(self, request: Request) -> dict[str, Any]:
        return self._shown(self.session.moment(request.path_params["number"]))

    async def _act(self, request: Request) -> dict[str, Any]:
        given = await _body(request)
        made = await self._worked(self.session.act, _number(given, "parent"), given)
        return self._facts(made) | self._shown(made)

    async def _do(self, request: Request) -> dict[str, Any]:
        given = await _body(request)
        words = str(given.get("policy", "")), str(given.get("task", ""))[:2000]
        made = await self._worked(self.session.hand_over, _number(given, "parent"), *words)
        return self._facts(made) | self._shown(made)

    async def _save(self, request: Request) -> dict[str, Any]:
        given = await _body(request)
        outcome = await self._worked(self.session.save, _number(given, "moment"))
        record = outcome.record
        notes = [note for note in outcome.notes if not note.startswith("page: ")]  # its link is there
        return {
            "saved": record.directory.name,
            "folder": str(record.directory),
            "notes": [*(f"problem: {problem}" for problem in record.problems), *notes],
        }

    async def _restart(self, request: Request) -> dict[str, Any]:
        await self._worked(self.session.begin)
        return {}

    async def _worked(self, call: Callable[..., T], *arguments: Any) -> T:
        """What a call of the session returns, in its thread; the server ends after it."""
        if self._busy:
            raise BusyError(
                "the world is busy with another input, perhaps of another tab. Try again when it has answered."
            )
        self._busy = True
        try:
            with self.stopping.answering():
                return await asyncio.get_running_loop().run_in_executor(self._worker, call, *arguments)
        finally:
            self._busy = False

    def _answer(self, make: Callable[[Request], Awaitable[dict[str, Any]]]) -> Any:
        """A route that answers with JSON, and with one line where it cannot."""

        async def answered(request: Request) -> Response:
            self.last_asked = time.monotonic()
            try:
                return JSONResponse(await make(request), headers={"Cache-Control": "no-store"})
            except StrandsDiffusersError as error:
                status = 409 if isinstance(error, BusyError) else 400 if isinstance(error, RequestError) else 500
                return JSONResponse({"error": clean(one_line(error))}, status)

        return answered

    async def _saved(self, request: Request) -> Response:
        """A file of a run that this session saved: its page, and what the page shows."""
        self.last_asked, name = time.monotonic(), request.path_params["name"]
        if name not in self.session.saved.values():
            return Response("not saved by this session\n", 404)
        files = StaticFiles(directory=self.session.directory / name, html=True)
        return await files.get_response(request.path_params["path"] or ".", request.scope)

    async def _file(self, name: str, request: Request) -> Response:
        self.last_asked = time.monotonic()
        room, file, kind = FILES[name]
        text = importlib.resources.files(room).joinpath("assets", file).read_text(encoding="utf-8")
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache", "Referrer-Policy": "no-referrer"}
        return Response(text, headers=headers, media_type=kind)

    # ------------------------------------------------------------------------------------------------- moments as JSON

    def _facts(self, moment: Moment) -> dict[str, Any]:
        """A moment without its frames."""
        held = self.session.held(moment) if self.session.controls.point else None
        return {
            "id": moment.id,
            "parent": None if moment.parent is None else moment.parent.id,
            "by": moment.by,
            "task": moment.task,
            "point": None if held is None else actions.to_physical(held, self.session.setting.space).tolist(),
            "poses": {name: _pose(matrix) for name, matrix in moment.poses.items()},
            "seconds": round(sum(v for k, v in moment.seconds.items() if "." not in k), 3),
            "saved": self.session.saved.get(moment.id, ""),
            "used": round(self.session.used / self.session.memory, 4),
        }

    def _shown(self, moment: Moment) -> dict[str, Any]:
        """The frames of a moment, as images that a page can show."""
        truth = moment.truth
        return {
            "frames": [_image(frame) for frame in moment.frames],
            "truth": None if truth is None else [_image(frame) for frame in truth],
        }


def _pose(matrix: np.ndarray) -> dict[str, Any]:
    """Where a body is [m] and how far it has turned [degrees], seen from where it began."""
    turned = float(np.degrees(actions.geodesic(np.eye(3), matrix[:3, :3])))
    return {"at": [round(float(v), 4) for v in matrix[:3, 3]], "turned": round(turned, 1)}


def _image(frame_HWC: np.ndarray) -> str:
    from PIL import Image

    stream = io.BytesIO()
    small = frame_HWC.shape[0] * frame_HWC.shape[1] <= LOSSLESS
    how: dict[str, Any] = {"format": "PNG", "compress_level": 1} if small else {"format": "JPEG", "quality": 90}
    Image.fromarray(frame_HWC).save(stream, **how)
    return f"data:image/{how['format'].lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"


async def _body(request: Request) -> Mapping[str, Any]:
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MAX_BODY:
            raise RequestError(f"a request may hold {MAX_BODY:,} bytes.")
    try:
        given = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RequestError("the request is not JSON.") from error
    if not isinstance(given, dict):
        raise RequestError("the request is no JSON object.")
    return given


def _number(given: Mapping[str, Any], key: str) -> int:
    value = given.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestError(f"{key} is the number of a moment.")
    return value


def server(session: Session, config: PlayConfig) -> tuple[Server, Door]:
    """The server of a session, bound and ready to run. It stops by itself after `config.idle_minutes`."""
    import threading

    stopping = Stopping()
    door = Door(session, stopping)
    made = Server(application(door.routes(), config, stopping), config, stopping)

    def look() -> None:
        rest = door.last_asked + 60 * config.idle_minutes - time.monotonic()
        if rest <= 0:
            made.stop()
            return
        timer = threading.Timer(rest, look)
        timer.daemon = True
        timer.start()
        stopping.calls[:] = [timer.cancel]

    look()
    return made, door
