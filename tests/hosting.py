"""A program that runs a `Host` on the database in its first argument, and prints a line of JSON for each thing that happens."""

import json
import os
import sys
import time

from headrace.config import load
from headrace.errors import HeadraceError, StartError
from headrace.host.choose import open_host
from headrace.telemetry.logging import configure_logging


def _main() -> int:
    """Runs a host, and prints what happens. The exit status is 1 where the host raises an error of ours."""

    def say(**what: object) -> None:
        print(json.dumps(what), flush=True)

    config = load()
    configure_logging(config.log_format, config.log_level)
    fails = bool(os.environ["CHECK_FAILS"])

    def check() -> None:
        say(checked=time.time())
        if fails and (config.data_dir / "fail").exists():
            raise StartError("the check has failed")

    try:
        host = open_host(config)
        say(made=type(host).__name__, port=host.port, grpc_port=host.grpc_port, data=str(config.data_dir))
        from headrace.host.build import open_database  # not before: a worker process imports this module, too

        open_database(host.open(sys.argv[1]))
        host.run(lambda: say(ready=True), check)
    except HeadraceError as error:
        say(StartError=str(error))
        return 1
    say(returned=True)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
