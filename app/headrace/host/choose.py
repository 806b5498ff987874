"""Chooses the host: one process, or a supervisor with several."""

from functools import partial

from headrace.config import Config
from headrace.host import Host
from headrace.host.one_process import OneProcess, work
from headrace.host.roles import Role
from headrace.host.supervisor import Supervisor
from headrace.tracing.loop import METRICS, refuse_loop


def open_host(config: Config, role: Role = Role.SERVE) -> Host:
    """Settings → the `Host` for them, in this role. It has taken its ports.

    Raises:
        StartError: a port is taken, or Headrace's own traces, or metrics that it passes on, would come back to it.
    """
    several = config.workers > 1
    host: Host = Supervisor(config, partial(work, role=role), role.receives) if several else OneProcess(config, role)
    if config.traces_endpoint is not None:
        refuse_loop(config.traces_endpoint, config.host, (host.port, host.grpc_port))
    if config.metrics_forward is not None:
        refuse_loop(config.metrics_forward, config.host, (host.port, host.grpc_port), METRICS)
    return host
