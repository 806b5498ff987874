"""The values of a span are written by their place: the names of a layout stand in the same order as the values."""

from headrace.mlflow.model import SPAN_TYPES, SpanRow
from headrace.mlflow.write.layout import TotalsInColumns
from headrace.mlflow.write.totals_in_rows import TotalsInRows

ROW = SpanRow._make(SpanRow._fields)
"""Each value is the name of its column."""


def test_each_column_of_a_row_has_its_type_in_the_same_place() -> None:
    assert tuple(SPAN_TYPES) == SpanRow._fields


def test_totals_in_columns_writes_each_value_under_its_own_name() -> None:
    layout = TotalsInColumns()
    assert tuple(layout.span_types) == layout.span(ROW)


def test_totals_in_rows_writes_each_value_under_its_own_name_and_the_dimensions_last() -> None:
    layout = TotalsInRows()
    *names, last = layout.span_types
    assert tuple(names) == layout.span(ROW)[:-1]
    assert last == "dimension_attributes"
