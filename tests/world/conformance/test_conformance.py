"""OTLP's specification against running `headrace serve`s: every case of the table, over each of its transports."""

import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from conformance.cases import Case
from conformance.page import CASES, PAGE, rendered, shown_by
from conformance.requirements import BINDS_CLIENTS, BY_KEY, KEYWORD_LINES
from conformance.stand import Stand
from conformance.wire import Transport
from conftest import CloneDatabase, database_directory


@pytest.fixture(scope="module")
def stand(clone_database: CloneDatabase) -> Iterator[Stand]:
    """The servers, over one database of their own."""
    with clone_database() as url, database_directory() as directory, closing(Stand(directory, url)) as stand:
        yield stand


def runs() -> list[Any]:
    """Each case, over each of its transports."""
    return [
        pytest.param(
            case,
            transport,
            id=case.id(transport),
            marks=[pytest.mark.xfail(reason=case.broken, strict=True)] if case.broken else [],
        )
        for case in CASES
        for transport in case.over
    ]


@pytest.mark.parametrize(("case", "transport"), runs())
def test_case(stand: Stand, case: Case, transport: Transport) -> None:
    case.run(stand, transport, os.urandom(16))


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text() == rendered(), "run `PYTHONPATH=tests .venv/bin/python -m conformance.page`"


def test_every_requirement_has_its_cases() -> None:
    assert [key for key, requirement in BY_KEY.items() if not shown_by(requirement)] == []
    assert {rule for case in CASES for transport in case.over for rule in case.rules_of(transport)} == BY_KEY.keys()
    ids = [case.id(transport) for case in CASES for transport in case.over]
    assert len(set(ids)) == len(ids)


def test_every_line_of_the_specification_is_answered_for() -> None:
    answered = sorted([*BINDS_CLIENTS, *(line for requirement in BY_KEY.values() for line in requirement.lines)])
    assert answered == sorted(KEYWORD_LINES), "each line once"
