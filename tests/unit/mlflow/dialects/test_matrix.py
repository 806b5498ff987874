"""The matrix in docs/frameworks.md is what becomes of the exports, and no cell is empty that an export has data for."""

from frameworks import NAMES, PROGRAMS
from frameworks_matrix import PAGE, PROGRAMS_OF, WHOSE, cells, missing, rendered


def test_no_cell_is_empty_that_the_export_has_data_for() -> None:
    assert (set(WHOSE), set(PROGRAMS_OF)) == (set(NAMES), set(PROGRAMS))
    for name, found in cells():
        assert not missing(name, found), name


def test_the_page_says_so() -> None:
    assert PAGE.read_text() == rendered(), "run `make docs`"
