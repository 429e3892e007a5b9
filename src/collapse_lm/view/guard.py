"""What every request must be, and what every answer carries. Knows no page.

A page of another site can make a browser ask this server, but not under its name: so the
name that a request asks for must be one of ours. Nothing is ever written: GET and HEAD only.
"""

import ipaddress
from collections.abc import Iterable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = ("GET", "HEAD")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "connect-src 'self'; img-src 'self' data:; worker-src blob:; "
        "base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def host_names(host: str, port: int) -> frozenset[str]:
    """What a Host header may say to a server that is bound to a host and a port."""
    literal = f"[{host}]" if ":" in host else host
    names = {"localhost", "127.0.0.1", "[::1]", literal.lower()}
    shown = {f"{name}:{port}" for name in names}
    return frozenset(shown | names) if port == 80 else frozenset(shown)


def is_for_us(header: str, names: Iterable[str], *, everywhere: bool, port: int) -> bool:
    """True for a Host header that names this server.

    Args:
        header: as sent.
        names: that are ours.
        everywhere: the server is bound to every address: any address with its port is ours
            (a name that a stranger made to lead here is still none).
        port: of the server.
    """
    asked = header.strip().lower()
    if asked in names:
        return True
    name, _, rest = asked.rpartition(":")
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return everywhere and rest == str(port)


class Guard:
    """Refuses what is no GET or HEAD, or asks for another host; adds headers to every answer.

    Args:
        app: what answers the rest.
        host: that the server is bound to.
        port: of it.
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._app, self._port = app, port
        self._names = host_names(host, port)
        self._everywhere = host in ("0.0.0.0", "::", "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request (the ASGI interface)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:  # a web socket
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] += [
                    (name.lower().encode(), value.encode())
                    for name, value in _HEADERS.items()
                    if name.lower().encode() not in given
                ]
            await send(message)

        refused = self._refusal(scope)
        await (refused or self._app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            told = f"this view answers to {' or '.join(sorted(self._names))} only\n"
            return PlainTextResponse(told, 421)
        if scope["method"] not in _METHODS:
            return PlainTextResponse("read only\n", 405, {"Allow": ", ".join(_METHODS)})
        return None

    def _is_ours(self, host: str) -> bool:
        return is_for_us(host, self._names, everywhere=self._everywhere, port=self._port)
