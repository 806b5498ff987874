"""The statements of the writer, as texts."""

import re

import pytest

from headrace.mlflow.write.statements import array, load_statements

LONG = {"content", "said", "record", "request_preview", "response_preview"}
"""Parameters that take long texts."""


@pytest.mark.parametrize("file", ["writer.sql", "totals_in_rows.sql", "logs.sql"])
def test_lists_of_long_texts_are_sent_in_binary(file: str) -> None:
    """As text, psycopg escapes each quote of a list's texts in Python: 250 µs for a span's content instead of 1."""
    for name, statement in load_statements(file).items():
        lists = dict(re.findall(r"%\((\w+)\)(\w)::(?:text|bytea)\[\]", statement.as_string()))
        assert {kind for parameter, kind in lists.items() if parameter in LONG} <= {"b"}, name


@pytest.mark.parametrize("file", ["writer.sql", "finish.sql", "prune.sql"])
def test_every_list_that_is_looked_for_is_sent_in_binary(file: str) -> None:
    """`= ANY` takes a list as it is. The text of an array (`array`) would be of no type."""
    for name, statement in load_statements(file).items():
        assert set(re.findall(r"ANY \(%\(\w+\)(\w)\)", statement.as_string())) <= {"b"}, name


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "{}"),
        ([""], '{""}'),
        ([None], "{NULL}"),
        (["NULL", None, ""], '{"NULL",NULL,""}'),
        ([1, -2], '{"1","-2"}'),
        ([0.1, None, 1e-300], '{"0.1",NULL,"1e-300"}'),
        (['say "hi"', "a\\b", "{c,d}"], '{"say \\"hi\\"","a\\\\b","{c,d}"}'),
        (['"', None, '","', "\\"], '{"\\"",NULL,"\\",\\"","\\\\"}'),
        (['","', "x"], '{"\\",\\"","x"}'),
    ],
)
def test_an_array_is_written_as_postgres_reads_it(values: list[object], text: str) -> None:
    assert array(values) == text
