"""The server: on 127.0.0.1 alone, for whoever holds the token of this start, writing decisions and nothing else.

A page of another site can send requests here, or have its name resolved to this address. So every request must name
this host, every decision must come from a page of this server, and it must carry the token, which is in no page.
"""

import io
import json
import secrets
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from imgaudit.exceptions import ImgauditError, InputError
from imgaudit.report.review import DecisionLedger, ReviewDecision, ReviewedRun, Source, read_reviewed_run
from imgaudit.report.review.exchange import parse_decision
from imgaudit.report.server.pages import POLICY, NotServedError, Page, Pages
from imgaudit.report.server.request_limits import (
    LARGEST_BODY,
    LARGEST_HEAD,
    MOST_CONNECTIONS,
    PATIENCE,
    SENDING,
    WAIT,
    ArrivingRequest,
    OverlongRequestError,
)
from imgaudit.runs.folder import RunFolder

ADDRESS = "127.0.0.1"

TOKEN_HEADER = "X-Imgaudit-Token"

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Headers of every answer."""


class Refusal(Exception):
    """A request that is not answered, with the status that says so."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class ReviewServer(ThreadingHTTPServer):
    """Pages of one run, and its decisions.

    port:  0 for any that is free
    on_saved:  called with every decision that was added, from the thread that added it
    Raises RunFolderError for a run that cannot be reviewed, OSError for a port that is taken.
    """

    daemon_threads = True
    request_queue_size = 2 * MOST_CONNECTIONS
    # On Windows this would let another program take over the port.
    allow_reuse_address = sys.platform != "win32"

    def __init__(
        self, run: RunFolder, port: int = 0, on_saved: Callable[[ReviewDecision], None] = lambda decision: None
    ) -> None:
        self.run = run
        self.pages = Pages(run)
        self.token = secrets.token_urlsafe(32)
        self.on_token: Callable[[], None] = lambda: None
        """Called whenever a request carries the token: the page that was opened has it."""
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self.on_saved = on_saved
        self._reviewed = read_reviewed_run(run.path)
        self._seen = self._report_state()
        self.ledger = DecisionLedger(run, self._reviewed.run_id)
        self.ledger.read()
        super().__init__((ADDRESS, port), _Handler)

    @property
    def address(self) -> str:
        """Address of the pages, without the token."""
        return f"http://{ADDRESS}:{self.server_port}/report/index.html"

    @property
    def url(self) -> str:
        """Address that the browser opens. The token is behind the #, which browsers send to nobody."""
        return f"{self.address}#token={self.token}"

    @property
    def hosts(self) -> tuple[str, str]:
        """Names by which a browser on this machine may call this server."""
        return f"{ADDRESS}:{self.server_port}", f"localhost:{self.server_port}"

    def reviewed(self) -> ReviewedRun:
        """Read the run as it is now: it can be decided again while its pages are open."""
        state = self._report_state()
        if state != self._seen:
            self._reviewed, self._seen = read_reviewed_run(self.run.path), state
        return self._reviewed

    def save(self, value: Any) -> tuple[ReviewDecision, bool]:
        """Append a page's decision; with it, whether it was new. Raises InputError."""
        decision = parse_decision(value, Source.VIEW)
        self.reviewed().require(decision)
        added = bool(self.ledger.append([decision]))
        if added:
            self.on_saved(decision)
        return decision, added

    def server_bind(self) -> None:
        """Bind without asking a name server for this machine's name, as HTTPServer does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own; close it where too many are being answered."""
        if not self._free.acquire(timeout=WAIT):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except Exception:
            # No thread was started. After Ctrl-C one may have been, which makes room itself.
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a connection, and make room for another one."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show errors, except those of connections that a browser closed."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def _report_state(self) -> tuple[int, int, int]:
        status = self.run.report_path.stat()
        return status.st_mtime_ns, status.st_size, status.st_ino


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    connection: socket.socket
    server_version = "imgaudit"
    sys_version = ""

    def setup(self) -> None:
        """Read the request up to a moment and a number of bytes."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(ArrivingRequest(self.connection, PATIENCE, LARGEST_HEAD + LARGEST_BODY))

    def handle(self) -> None:
        """Answer the one request of this connection."""
        try:
            super().handle()
        except OverlongRequestError:
            self.request_version = self.protocol_version
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, made: Callable[[str], None]) -> None:
        try:
            if self.headers.get_all("Host", []) not in ([host] for host in self.server.hosts):
                raise Refusal(
                    HTTPStatus.MISDIRECTED_REQUEST,
                    f"expected a request to {self.server.hosts[0]}; through a tunnel, use the same port on both ends",
                )
            made(self._address())
        except (Refusal, NotServedError) as error:
            self._send_error(error.status, str(error))
        except TimeoutError as error:
            self._send_error(HTTPStatus.REQUEST_TIMEOUT, str(error))
        except OverlongRequestError:
            raise
        except InputError as error:
            self._send_error(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        except ImgauditError as error:
            self._send_error(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        except OSError as error:
            self._send_error(HTTPStatus.INTERNAL_SERVER_ERROR, f"not saved: {error.strerror or error}")

    def _address(self) -> str:
        try:
            return urlsplit(self.path).path
        except ValueError as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the address cannot be read") from error

    def _get(self, path: str) -> None:
        if path == "/":
            self._send(HTTPStatus.FOUND, Page(b"", "text/plain"), Location="/report/index.html")
        elif path == "/decisions":
            self._require_page()
            self._send_json(HTTPStatus.OK, self._decisions())
        else:
            self._send(HTTPStatus.OK, self.server.pages.read(path))

    def _post(self, path: str) -> None:
        if path != "/decisions":
            raise Refusal(HTTPStatus.NOT_FOUND, "decisions are sent to /decisions")
        if self.headers.get("Origin") is None:
            raise Refusal(HTTPStatus.FORBIDDEN, "expected the Origin of a page of this server, but got none")
        self._require_page()
        decision, added = self.server.save(self._body())
        status = HTTPStatus.CREATED if added else HTTPStatus.OK
        self._send_json(status, {"saved": decision.model_dump(mode="json")})

    def _require_page(self) -> None:
        """Refuse a request unless it comes from a page of this server and carries the token."""
        origin = self.headers.get("Origin")
        if origin is not None and origin not in [f"http://{host}" for host in self.server.hosts]:
            raise Refusal(HTTPStatus.FORBIDDEN, "expected a page of this server, but the request is from another site")
        token = self.headers.get(TOKEN_HEADER, "")
        if not secrets.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                "the token is missing or of another start: open the page that imgaudit view opened",
            )
        self.server.on_token()

    def _body(self) -> Any:
        if self.headers.get_content_type() != "application/json":
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Transfer-Encoding") or not (length.isascii() and length.isdigit() and len(length) < 10):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        if int(length) > LARGEST_BODY:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {LARGEST_BODY:,} bytes, but got {int(length):,}"
            )
        content = self.rfile.read(int(length))
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"the decision is not JSON: {error}") from error

    def _decisions(self) -> dict[str, Any]:
        reviewed, ledger = self.server.reviewed(), self.server.ledger.read()
        return {
            "run_id": reviewed.run_id,
            "result_sha256": reviewed.result_sha256,
            "decisions": [decision.model_dump(mode="json") for decision in ledger.latest().values()],
            "damaged": len(ledger.damaged),
        }

    def _send(self, status: HTTPStatus, page: Page, **headers: str) -> None:
        self.connection.settimeout(SENDING)
        self.send_response(status)
        for name, value in (HEADERS | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.content)))
        self.end_headers()
        self.wfile.write(page.content)

    def _send_json(self, status: HTTPStatus, value: Any) -> None:
        self._send(status, Page(json.dumps(value).encode(), "application/json"))

    def _send_error(self, status: HTTPStatus, reason: str) -> None:
        self._send_json(status, {"error": reason})

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer other methods and malformed requests like every refusal, and repeat nothing of the request."""
        self.close_connection = True
        self._send_error(HTTPStatus(code), HTTPStatus(code).phrase)

    def log_message(self, format: str, *args: Any) -> None:
        """Log no requests: saved decisions are reported by `on_saved`."""
