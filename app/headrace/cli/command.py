"""What the commands share: they load the settings, and an error of ours ends them with one message."""

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from headrace.cli.console import fail

if TYPE_CHECKING:
    from headrace.config import Config


def load_settings(**overrides: object) -> "Config":
    """Loads the settings, sets up logging, and warns of HEADRACE_ variables that are no setting."""
    from headrace.config import MLFLOW_DEFAULTS, load, meant, unknown_variables
    from headrace.telemetry.logging import configure_logging, log

    os.environ.update(MLFLOW_DEFAULTS | os.environ)
    config = load(**overrides)
    configure_logging(config.log_format, config.log_level)
    for name in unknown_variables(dict(os.environ)):
        log.warning("unknown setting ignored", variable=name, meant=meant(name))
    return config


def run(command: Callable[[], None]) -> None:
    """Runs a command. A `HeadraceError` becomes one message and exit status 1; Ctrl-C and SIGTERM end it cleanly."""
    from headrace.errors import HeadraceError
    from headrace.mlflow.libraries import leave_out_libraries

    leave_out_libraries()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        command()
    except KeyboardInterrupt:
        pass
    except HeadraceError as error:
        fail(error)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
