"""Everything that is sent down both roads. Deterministic: the same bytes in every run."""

from collections.abc import Iterable

from parity.breaks import breaks
from parity.concepts import concepts
from parity.dialects import dialects
from parity.odd import odd
from parity.orders import orders
from parity.scenario import Exchange, Scenario
from parity.shapes import shapes

__all__ = ["Exchange", "Scenario", "corpus", "mlflow_breaks", "names_of"]


def corpus() -> list[Scenario]:
    """The scenarios that MLflow's endpoint stores, in the order in which they are sent."""
    return [*shapes(), *orders(), *concepts(), *dialects(), *odd()]


def names_of(scenarios: Iterable[Scenario]) -> dict[str, str]:
    """Trace id → scenario."""
    return {trace_id: scenario.name for scenario in scenarios for trace_id in scenario.trace_ids}


def mlflow_breaks() -> list[Scenario]:
    """The scenarios that MLflow's endpoint refuses, or (`Scenario.spins`) never answers."""
    return list(breaks())
