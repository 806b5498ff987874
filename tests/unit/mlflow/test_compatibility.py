"""docs/compatibility.md names what MLflow has changed, as the comparison of its releases knows it."""

from parity.page import PAGE, with_changes


def test_the_page_has_each_change() -> None:
    page = PAGE.read_text()
    assert page == with_changes(page), "run `make docs`"
