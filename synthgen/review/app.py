"""The server of the review page: five addresses, none of which takes a path."""

from __future__ import annotations

import json
from importlib.resources import files

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from synthgen.errors import SynthgenError
from synthgen.overlay import class_colour, css
from synthgen.review.door import Door
from synthgen.review.session import Session

MOST_BYTES = 16 << 20  # of a decision: the outlines of thousands of objects in a 4k image
TYPES = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml",
         "js": "text/javascript; charset=utf-8"}


def build(session: Session, port: int, token: str) -> ASGIApp:
    """The ASGI app for a session, behind its door. port: that it will be reached at. token: of the printed address."""
    page = {entry.name: entry.read_bytes() for entry in files("synthgen.review").joinpath("static").iterdir()
            if entry.name.rpartition(".")[2] in TYPES}

    def index(_request: Request) -> Response:
        return Response(page["index.html"], media_type=TYPES["html"])

    def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in page:
            return PlainTextResponse("there is no such file", 404)
        return Response(page[name], media_type=TYPES[name.rpartition(".")[2]])

    def about(_request: Request) -> Response:
        colours = [css(class_colour(k)) for k in range(len(session.classes))]
        return JSONResponse({**session.about(), "colours": colours})

    def image(request: Request) -> Response:
        id_ = request.path_params["id"]
        return Response(session.png(id_), media_type="image/png") if id_ in session else _unknown()

    def labels(request: Request) -> Response:
        id_ = request.path_params["id"]
        return JSONResponse(session.labels(id_)) if id_ in session else _unknown()

    async def decide(request: Request) -> Response:
        id_ = request.path_params["id"]
        if id_ not in session:
            return _unknown()
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return PlainTextResponse("a decision is sent as application/json", 415)
        body = await _body(request)
        if body is None:
            return PlainTextResponse(f"a decision has at most {MOST_BYTES >> 20} MiB", 413)
        try:
            said = json.loads(body)
        except (ValueError, RecursionError):
            return PlainTextResponse("this is no JSON", 400)
        try:
            return JSONResponse(await run_in_threadpool(session.decide, id_, said))
        except SynthgenError as error:
            return PlainTextResponse(str(error), 400)

    def undo(_request: Request) -> Response:
        try:
            return JSONResponse(session.undo())
        except SynthgenError as error:
            return PlainTextResponse(str(error), 400)

    routes = [
        Route("/", index),
        Route("/static/{name}", static),
        Route("/api/session", about),
        Route("/api/image/{id}", image),
        Route("/api/labels/{id}", labels),
        Route("/api/decide/{id}", decide, methods=["POST"]),
        Route("/api/undo", undo, methods=["POST"]),
    ]
    return Door(Starlette(routes=routes), port, token)


def _unknown() -> Response:
    return PlainTextResponse("no image of this session has that id", 404)


async def _body(request: Request) -> bytes | None:
    """The body, or None when it is too large; of one that is, no more is read than that."""
    told = request.headers.get("content-length", "0")
    if not told.isdigit() or int(told) > MOST_BYTES:
        return None
    data = bytearray()
    try:
        async for chunk in request.stream():
            data += chunk
            if len(data) > MOST_BYTES:
                return None
    except ClientDisconnect:
        return None
    return bytes(data)
