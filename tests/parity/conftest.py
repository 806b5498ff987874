"""Says at the end of the run how much was compared: a parity test that compares nothing passes too."""

import pytest
from conftest import report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """pytest's hook."""
    if lines := report(config, "parity"):
        terminalreporter.section("parity with MLflow")
        for line in lines:
            terminalreporter.write_line(line)
