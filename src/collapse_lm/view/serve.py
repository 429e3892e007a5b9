"""The process of a view: its socket, its server, and a browser that opens it."""

import errno
import logging
import socket
import threading
import webbrowser
from pathlib import Path

import uvicorn

from collapse_lm.errors import UserError
from collapse_lm.view.app import make_app
from collapse_lm.view.folder import Folder
from collapse_lm.view.hub import Hub

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_GRACE = 1  # seconds in which connections may end by themselves


class _Server(uvicorn.Server):
    """A server that lets those who listen go before it waits for open connections."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End (called by uvicorn)."""
        self._hub.close()
        await super().shutdown(sockets)


def serve(path: Path, host: str, port: int, *, is_opened: bool = False) -> None:
    """Show a folder until a signal ends it.

    Args:
        path: of the folder.
        host: to bind to.
        port: the same; 0 takes a free one.
        is_opened: whether a browser is asked to show it.

    Raises:
        UserError: for a host or port that cannot be had.
    """
    listener = bind(host, port)
    port = listener.getsockname()[1]
    address = f"http://{shown_host(host)}:{port}/"
    print(f"view  {address}  (Ctrl-C ends it)", flush=True)
    if host not in _LOOPBACK:
        print(f"whoever reaches {host} can read the runs in {path}", flush=True)
    # A folder that cannot be read is told of once, not at every look.
    folder = Folder(path)
    folder.look()
    logging.getLogger("collapse_lm.rundir.reader").setLevel(logging.ERROR)
    if is_opened:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    server(Hub(folder), host, port).run(sockets=[listener])


def server(hub: Hub, host: str, port: int) -> uvicorn.Server:
    """The server of a folder, to be run with a listener of that port."""
    config = uvicorn.Config(
        make_app(hub, host, port),
        access_log=False,
        http="h11",
        lifespan="on",
        log_level="error",
        loop="asyncio",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
        ws="none",
    )
    return _Server(config, hub)


def shown_host(host: str) -> str:
    """A host as it stands in an address; one that means every address is this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host) or (
        f"[{host}]" if ":" in host else host
    )


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UserError: for a host or port that cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        told = getattr(error, "strerror", None) or str(error)
        raise _refused("--host", f"{host!r}: {told}", "an address of this machine") from None
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise _told(error, host, port) from None
    return listener


def _told(error: OSError, host: str, port: int) -> UserError:
    if error.errno == errno.EADDRINUSE:
        return _refused("--port", f"{port}, which is taken", "a free port", f"--port {port + 1}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return _refused("--port", f"{port}: {error.strerror}", "a port above 1023", "--port 7575")
    return _refused("--host", f"{host}: {error.strerror}", "an address of this machine")


def _refused(where: str, got: str, expected: str, fix: str = "--host 127.0.0.1") -> UserError:
    return UserError.single(where, got, expected, fix)
