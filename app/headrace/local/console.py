"""The console beside `headrace up`: `headrace console` as a process of its own, so that reading never slows writing."""

import socket
import sys
from collections.abc import Mapping

from headrace.config import Config
from headrace.local.child import Child, browsable

_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class ConsoleProcess(Child):
    """`headrace console` on a database, with the settings of this process."""

    title = "console"

    def __init__(self, config: Config, http_port: int) -> None:
        """`http_port`: that of the receiver, which it asks for its numbers."""
        super().__init__("console", "headrace", config.data_dir, [sys.executable, "-m", "headrace", "console"])
        scheme = "http" if config.tls_cert is None else "https"
        self.url = config.console_url or f"{scheme}://{browsable(config.console_host)}:{config.console_port}"
        self._address = (_HERE.get(config.console_host, config.console_host), config.console_port)
        self._settings = {
            "HEADRACE_DATA_DIR": str(config.data_dir),
            "HEADRACE_HOST": config.host,
            "HEADRACE_HTTP_PORT": str(http_port),
            "HEADRACE_UI_PORT": str(config.ui_port),
            "HEADRACE_CONSOLE_PORT": str(config.console_port),
            "HEADRACE_JAEGER_PORT": str(config.jaeger_port),
        }

    def environment(self, database_url: str) -> Mapping[str, str]:
        """See `Child.environment`."""
        return {**self._settings, "HEADRACE_DATABASE_URL": database_url}

    def answers(self) -> bool:
        """See `Child.answers`. Its port is open when all else is ready, and may speak TLS."""
        try:
            socket.create_connection(self._address, timeout=2).close()
        except OSError:
            return False
        return True
