"""Chooses the host: one process, or a supervisor with several."""

from headrace.config import Config
from headrace.host import Host
from headrace.host.one_process import OneProcess, work
from headrace.host.supervisor import Supervisor
from headrace.tracing.loop import refuse_loop


def open_host(config: Config) -> Host:
    """Settings → the `Host` for them, which has taken its ports.

    Raises:
        StartError: a port is taken, or Headrace's own traces would come back to it.
    """
    host = OneProcess(config) if config.workers == 1 else Supervisor(config, work)
    if config.traces_endpoint is not None:
        refuse_loop(config.traces_endpoint, config.host, (host.port, host.grpc_port))
    return host
