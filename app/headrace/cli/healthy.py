"""`headrace healthy`: whether the Headrace of this machine, or of this container, lives. For the health checks of containers.

It runs every few seconds for as long as a container lives. So it imports nothing of ours, and reads its settings from the
environment itself. That takes a tenth of a second; one of our commands takes half a second.
"""

import os
import socket
import ssl
import sys
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection

SECONDS = 4.0
"""How long the check waits for an answer."""


def healthy(environment: Mapping[str, str] = os.environ) -> str:
    """Asks `/healthz` of the port that the environment names. Returns "" if the process lives, else why it seems not to.

    It asks whether the process lives, not whether it is ready: while Postgres is away, Headrace still takes spans, and a
    restart would mend nothing. A server that wants a client's certificate (HEADRACE_TLS_CLIENT_CA) does not answer the check,
    which has none. Then a TLS handshake, completed or refused, proves that the process lives.
    """
    port = environment.get("HEADRACE_HTTP_PORT") or "4318"
    mutual = bool(environment.get("HEADRACE_TLS_CERT") and environment.get("HEADRACE_TLS_CLIENT_CA"))
    try:
        with closing(_connection(environment, int(port))) as connection:
            connection.connect()
            if mutual:
                return ""
            connection.request("GET", "/healthz", headers={"user-agent": "headrace-healthy"})
            answer = connection.getresponse()
            return "" if answer.status == 200 else answer.read(2_000).decode(errors="replace")
    except ssl.SSLError as error:
        return "" if mutual and "ALERT" in str(error.reason) else _why(port, error)
    except (OSError, HTTPException, ValueError) as error:
        return _why(port, error)


def _connection(environment: Mapping[str, str], port: int) -> HTTPConnection:
    """To this machine itself, past any proxy. The certificate may name whatever host it likes: nothing secret is said."""
    host = _reachable(environment.get("HEADRACE_HOST", ""))
    if not environment.get("HEADRACE_TLS_CERT"):
        return HTTPConnection(host, port, timeout=SECONDS)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return HTTPSConnection(host, port, timeout=SECONDS, context=context)


def _reachable(host: str) -> str:
    """The address that is listened on → one that can be called: every address includes this machine's own."""
    if host in ("", "0.0.0.0"):
        return "127.0.0.1"
    return "::1" if host == "::" and socket.has_ipv6 else host


def _why(port: str, error: Exception) -> str:
    return f"No answer from port {port}: {error}. The port is HEADRACE_HTTP_PORT; HEADRACE_TLS_CERT makes the check speak TLS."


def main() -> None:
    """Ends with status 0, or with 1 and the reason on stderr."""
    if reason := healthy():
        print(f"headrace: {reason}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
