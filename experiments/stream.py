"""A picture that changes, shown in a browser: one page, a stream of JPEGs, and a few controls, from this machine only.

The stream is `multipart/x-mixed-replace`, which every browser draws without a script and which passes an SSH tunnel.
"""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

from experiments.play_page import PAGE

HOST = "127.0.0.1"
_BOUNDARY = "next-picture"
_REPEAT_S = 1.0
"""A picture is sent again after so long: browsers show one only when the next begins, and it tells who has left."""
_STALLED_S = 20.0
"""A browser that takes nothing for so long has gone."""


class Screen:
    """What is to be seen, and what has been asked for: shared by the thread that plays and those that serve."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jpeg, self._facts, self._count = b"", b"{}", 0
        self.paused, self.attention, self.next, self.closed = False, True, False, False

    def show(self, picture: np.ndarray, facts: dict[str, Any]) -> None:
        """A new picture, uint8 [H, W, 3], with the words beside it (plain data)."""
        jpeg = io.BytesIO()
        Image.fromarray(picture).save(jpeg, "JPEG", quality=90, subsampling=0)
        with self._changed:
            self._jpeg, self._count = jpeg.getvalue(), self._count + 1
            self._facts = json.dumps({**facts, "paused": self.paused, "attention": self.attention}).encode()
            self._changed.notify_all()

    def after(self, count: int, timeout: float) -> tuple[bytes, int]:
        """The newest picture and its number, as soon as that is above `count`, or after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._count > count or self.closed, timeout)
            return self._jpeg, self._count

    def facts(self) -> bytes:
        """The words beside the picture, as JSON."""
        return self._facts

    def ask(self, what: str) -> bool:
        """One of "pause", "attention" (both there and back), "next". Returns whether there is such a control."""
        with self._changed:
            if what == "pause":
                self.paused = not self.paused
            elif what == "attention":
                self.attention = not self.attention
            elif what == "next":
                self.next, self.paused = True, False
            else:
                return False
            self._changed.notify_all()
            return True

    def wait(self, seconds: float) -> None:
        """Waits, but not beyond the next thing that is asked for."""
        with self._changed:
            before = (self.paused, self.attention, self.next)
            self._changed.wait_for(lambda: (self.paused, self.attention, self.next) != before, seconds)

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a browser that holds on keeps nobody from leaving
    block_on_close = False
    allow_reuse_address = True
    screen: Screen

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error, and nothing here is worth a traceback in the middle of a match."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _STALLED_S
    server: _Server

    def do_GET(self) -> None:
        screen = self.server.screen
        if self.path == "/":
            self._answer(200, "text/html; charset=utf-8", PAGE.encode())
        elif self.path == "/stream":
            self._stream()
        elif self.path.partition("?")[0] == "/frame.jpg":
            self._answer(200, "image/jpeg", screen.after(0, _REPEAT_S)[0])
        elif self.path == "/facts":
            self._answer(200, "application/json", screen.facts())
        else:
            self._answer(404, "text/plain", b"there is /, /stream, /frame.jpg and /facts\n")

    def do_POST(self) -> None:
        found = self.server.screen.ask(self.path.strip("/"))
        self._answer(204 if found else 404, "text/plain", b"")

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        """Sends pictures until the browser, or the match, has gone."""
        self.send_response(200)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(f"--{_BOUNDARY}\r\n".encode())
        screen, count = self.server.screen, 0
        while not screen.closed:
            jpeg, count = screen.after(count, _REPEAT_S)
            if jpeg:
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + f"\r\n--{_BOUNDARY}\r\n".encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


def serve(screen: Screen, port: int) -> tuple[_Server, str]:
    """Starts serving `screen` in threads. port: 0 takes a free one. Returns the server (to be shut down) and its URL.

    Raises: ValueError for a port that cannot be had.
    """
    try:
        server = _Server((HOST, port), _Handler)
    except OSError as error:
        raise ValueError(
            f"cannot listen on port {port}: {error.strerror}; give another with --port, or 0 for a free one"
        ) from None
    server.screen = screen
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    return server, f"http://{HOST}:{server.server_address[1]}/"
