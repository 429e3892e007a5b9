"""A view of a folder in this process, and requests that go out byte for byte."""

import http.client
import json
import threading
import time
from contextlib import contextmanager

from collapse_lm.view.budget import Budget
from collapse_lm.view.folder import Folder
from collapse_lm.view.hub import Hub
from collapse_lm.view.serve import bind, server

PERIOD = 0.1  # seconds between two looks


class Viewing:
    """A server that runs, and what it answers.

    Attributes:
        hub: of the server.
        port: on 127.0.0.1.
    """

    def __init__(self, hub, port):
        self.hub, self.port = hub, port
        self.url = f"http://127.0.0.1:{port}/"

    def ask(self, path, method="GET", host=None, **headers):
        """(status, headers, body) of a request whose path is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for value in [f"127.0.0.1:{self.port}"] if host is None else host:
            connection.putheader("Host", value)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        found = answer.status, dict(answer.headers), answer.read()
        connection.close()
        return found

    def page(self, name=""):
        """The page object of a place."""
        status, _, body = self.ask(f"/at/{name}page.json")
        assert status == 200
        return json.loads(body)

    @contextmanager
    def listening(self, path="/at/events"):
        """What a client that listens gets: a list that grows."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", path)
        answer, got = connection.getresponse(), []

        def read():
            try:
                while line := answer.readline():
                    if line.startswith(b"data: "):
                        got.append(json.loads(line[6:]))
            except (OSError, ValueError, AttributeError):  # closed from the other side
                pass

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        try:
            yield got
        finally:
            if connection.sock:
                connection.sock.shutdown(2)
            connection.close()
            thread.join(5)


@contextmanager
def viewing(root, period=PERIOD, budget=None):
    """A view of a folder, until the end of a with statement."""
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    # This process also writes the runs and asks, which is not the server's to pay for.
    hub = Hub(Folder(root), period, budget or Budget(share=10))
    process = server(hub, "127.0.0.1", port)
    thread = threading.Thread(target=process.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until(lambda: process.started)
    try:
        yield Viewing(hub, port)
    finally:
        process.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive()


def until(condition, seconds=15):
    """Wait for something to become true."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "did not come true in time"
        time.sleep(0.02)
