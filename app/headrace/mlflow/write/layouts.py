"""Shape → how it is written."""

from headrace.mlflow.shape.known import TOTALS_IN_COLUMNS, TOTALS_IN_ROWS
from headrace.mlflow.shape.needs import Shape
from headrace.mlflow.write.layout import Layout, TotalsInColumns
from headrace.mlflow.write.totals_in_rows import TotalsInRows

_LAYOUTS: dict[Shape, Layout] = {TOTALS_IN_COLUMNS: TotalsInColumns(), TOTALS_IN_ROWS: TotalsInRows()}


def layout_of(shape: Shape | None) -> Layout:
    """The layout of a shape. None: of the newest."""
    return _LAYOUTS[shape or TOTALS_IN_COLUMNS]
