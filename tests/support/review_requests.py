"""Requests to the review server, as a page or a stranger sends them."""

import http.client
import json
from typing import Any, NamedTuple

from imgaudit.report.review import ReviewDecision
from imgaudit.report.server import ReviewServer


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(server: ReviewServer, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    """One request as it is given: nothing is added but what HTTP needs, and nothing normalised."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
    if body is not None and "Content_Length" not in headers:
        headers["Content_Length"] = str(len(body))
    for name, value in headers.items():
        if value:
            connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(body)
    answer = connection.getresponse()
    found = Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    connection.close()
    return found


def decide(server: ReviewServer, value: Any, **headers: str) -> Answer:
    usual = {
        "Origin": f"http://127.0.0.1:{server.server_port}",
        "Content_Type": "application/json",
        "X_Imgaudit_Token": server.token,
    }
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return ask(server, "POST", "/decisions", body, **(usual | headers))


def history(server: ReviewServer) -> tuple[ReviewDecision, ...]:
    return server.ledger.read().history
