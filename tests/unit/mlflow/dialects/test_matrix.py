"""The matrix in docs/frameworks.md is what becomes of the exports, and no cell is empty that an export has data for."""

from frameworks import NAMES
from frameworks_matrix import PAGE, WHOSE, WITHOUT, cells, rendered


def test_no_cell_is_empty_that_the_export_has_data_for() -> None:
    assert set(WHOSE) == set(NAMES)
    for name, found in cells():
        missing = [column for column, there in found.items() if not there and name not in WITHOUT.get(column, ())]
        assert not missing, f"{name} lacks {missing}"


def test_the_page_says_so() -> None:
    assert PAGE.read_text() == rendered(), "run `make docs`"
