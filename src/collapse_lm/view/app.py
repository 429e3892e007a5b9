"""The view over HTTP: which address is answered with what.

/                    the list of sweeps and runs        /events         its changes
/at/                 the whole folder on one page       /at/NAME/       a sweep's page, or a run's
/at/NAME/page.json   its page object                    /at/NAME/block/ID   heavy data of it
/at/NAME/events      its changes                        /assets/NAME    scripts and styles

A name is looked up among those that the folder was found to hold; no address is ever made
into a path, so none leads anywhere else.
"""

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from urllib.parse import quote, unquote_to_bytes

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from collapse_lm.view.guard import Guard
from collapse_lm.view.hub import MOST_CLIENTS, Client, Hub
from collapse_lm.view.index import link, own_asset, render_index
from collapse_lm.view.pages import Made

_KEEP_ALIVE = 15.0  # seconds, after which a silent stream says that it is there
_RETRY = 2000  # milliseconds, after which a browser connects again
_JSON = "application/json"
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
_NOT_FOUND = partial(PlainTextResponse, "not found\n", 404)


def make_app(hub: Hub, host: str, port: int) -> ASGIApp:
    """The application of a view.

    Args:
        hub: the pages, and who listens.
        host: that the server is bound to.
        port: of it.
    """

    @asynccontextmanager
    async def watching(app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(hub.watch())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    route = Route("/{path:path}", partial(_answer, hub))
    return Guard(Starlette(routes=[route], lifespan=watching), host, port)


async def _answer(hub: Hub, request: Request) -> Response:
    match parts_of(request.scope):
        case [""]:
            await hub.look_again()
            return _html(await asyncio.to_thread(render_index, hub.folder))
        case ["events"]:
            return _events(hub, None, request)
        case ["assets", *name] if (text := own_asset("/".join(name))) is not None:
            kind = next(kind for end, kind in _TYPES.items() if name[-1].endswith(end))
            return Response(text, media_type=kind)
        case ["at", *name, ""]:
            found = await hub.rendered("/".join(name), lambda made: made.html)
            return _NOT_FOUND() if found is None else _html(found)
        case ["at", *name, "page.json"]:
            return await _zipped(hub, name, lambda made: made.json, request)
        case ["at", *name, "block", block]:
            return await _zipped(hub, name, lambda made: made.page.blocks.get(block), request)
        case ["at", *name, "events"]:
            return _events(hub, "/".join(name), request)
        case ["at", *name] if "/".join(name) in hub.folder.places:
            return RedirectResponse(f"/{link('/'.join(name))}", 308)
        case _:
            return _NOT_FOUND()


def parts_of(scope: Scope) -> list[str] | None:
    """The parts of the address of a request; None for one that could mean another place.

    Taken from the bytes that were sent, so that a slash that was encoded splits no part.
    """
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    parts = [unquote_to_bytes(part) for part in raw.partition(b"?")[0].split(b"/")]
    inner = parts[1:]
    is_odd = any(part in (b".", b"..") or set(part) & {0, *b"/\\"} for part in inner)
    if parts[0] or is_odd or b"" in inner[:-1]:
        return None
    return [os.fsdecode(part) for part in inner]


def _html(text: str | bytes) -> Response:
    return Response(text, media_type="text/html; charset=utf-8")


async def _zipped(
    hub: Hub, name: Sequence[str], form: Callable[[Made], bytes | None], request: Request
) -> Response:
    """JSON that is gzip already, as such where the client takes that."""
    found = await hub.rendered("/".join(name), form)
    if found is None:
        return _NOT_FOUND()
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return Response(found, headers=headers, media_type=_JSON)
    return Response(await asyncio.to_thread(gzip.decompress, found), media_type=_JSON)


def _events(hub: Hub, name: str | None, request: Request) -> Response:
    """What changes on a page, or in the list for None, as server-sent events."""
    if name is not None and (name not in hub.folder.places or hub.refuses(name)):
        return _NOT_FOUND()
    kind = "text/event-stream"
    if request.method == "HEAD":
        return Response(media_type=kind)
    if hub.clients >= MOST_CLIENTS:
        return PlainTextResponse("too many listen already\n", 503, {"Retry-After": "5"})
    return StreamingResponse(_stream(hub, name), media_type=kind)


async def _stream(hub: Hub, name: str | None) -> AsyncIterator[str]:
    with suppress(KeyError), hub.listening(name) as client:
        yield f"retry: {_RETRY}\n\n"
        while not client.is_over:
            yield await _next(client)


async def _next(client: Client) -> str:
    changed = await client.wait(_KEEP_ALIVE)
    if changed is None:
        return ": here\n\n"
    return f"event: changed\ndata: {json.dumps({'runs': sorted(changed)})}\n\n"
