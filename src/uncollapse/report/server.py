"""The server behind `report STUDY --watch`, for this machine unless asked otherwise.

    /              the frame: what is being trained, and the page below it
    /page          the page of the report, as built last
    /status.json   what is being trained, and which page is the newest

On other interfaces every request needs the token of the address that the command prints.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from functools import lru_cache
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from uncollapse.errors import InputError

LOCAL = "127.0.0.1"
PORT = 8765
COOKIE = "uncollapse"
HTML = "text/html; charset=utf-8"


@dataclass
class Served:
    """What the server gives out."""

    frame: bytes = b""
    page: bytes = b""
    status: bytes = b"{}"

    @property
    def page_tag(self) -> str:
        return make_tag(self.page)


@lru_cache(maxsize=4)  # the same page and status are asked for again and again
def make_tag(content: bytes) -> str:
    """The ETag of a content."""
    return f'"{hashlib.sha256(content).hexdigest()[:16]}"'


class Server(ThreadingHTTPServer):
    """Gives out what a follower shows; with a token unless it is for this machine alone."""

    daemon_threads = True

    def __init__(self, host: str, port: int, shown: Served):
        self.shown, self.token = shown, "" if host == LOCAL else secrets.token_urlsafe(24)
        super().__init__((host, port), Handler)

    @property
    def address(self) -> str:
        """What to open in a browser."""
        host, port = self.server_address[:2]
        query = f"?token={self.token}" if self.token else ""
        return f"http://{host!s}:{port}/{query}"


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD requests for the three addresses."""

    server: Server
    server_version = "uncollapse"
    sys_version = ""

    def do_HEAD(self) -> None:
        """As GET; `answer` leaves the content out."""
        self.do_GET()

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if not self.is_allowed(parse_qs(address.query)):
            self.answer(403, b"not allowed: open the address that the command printed\n")
        elif address.path == "/":
            self.give(self.server.shown.frame, HTML)
        elif address.path == "/page":
            self.give(self.server.shown.page, HTML)
        elif address.path == "/status.json":
            self.give(self.server.shown.status, "application/json")
        else:
            self.answer(404, b"only /, /page and /status.json are here\n")

    def is_allowed(self, query: dict[str, list[str]]) -> bool:
        """Whether a request has the token or, without one, is for this machine by its own name."""
        if not self.server.token:
            # a page elsewhere may let its own name point to this machine
            return self.headers.get("Host", "").partition(":")[0] in (LOCAL, "localhost")
        try:
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        except CookieError:
            cookie = None
        given = query.get("token", [cookie.value if cookie else ""])[0]
        return hmac.compare_digest(given.encode(), self.server.token.encode())

    def give(self, content: bytes, kind: str) -> None:
        """Answer with a content, or that the reader has it already."""
        tag = make_tag(content)
        if self.headers.get("If-None-Match") == tag:
            self.answer(304, b"", ETag=tag)
        else:
            self.answer(200, content, kind, ETag=tag)

    def answer(
        self, code: int, content: bytes, kind: str = "text/plain; charset=utf-8", **headers: str
    ) -> None:
        self.send_response(code)
        if self.server.token and code == 200:
            headers["Set-Cookie"] = f"{COOKIE}={self.server.token}; HttpOnly; SameSite=Strict"
        headers |= {"Content-Type": kind, "Content-Length": str(len(content))}
        headers |= {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        headers |= {"Referrer-Policy": "no-referrer", "X-Frame-Options": "SAMEORIGIN"}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if code != 304 and self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *values: object) -> None:
        """Nothing: a line for every request would hide the address."""


def open_server(host: str, port: int, shown: Served) -> Server:
    """InputError where the port cannot be used."""
    try:
        return Server(host, port, shown)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "allowed are 0 to 65535"
        raise InputError(
            f"--port {port} on {host}: cannot be used ({reason}); choose another --port"
        ) from error
