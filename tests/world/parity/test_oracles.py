"""The oldest and the newest release of MLflow that Headrace writes for: what their servers write, and what Headrace writes into
their tables, for a part of the corpus. `make oracles` does the same for all releases and the whole corpus."""

from collections.abc import Iterator

import pytest
from parity.databases import MLFLOW_SETTINGS
from parity.oracles import Oracles, few
from parity.releases import RELEASES, Release

from headrace.local.postgres import EmbeddedPostgres

pytestmark = pytest.mark.slow("config errors otlp envelope processor mlflow store local tests/parity")


@pytest.fixture(scope="module")
def oracles(postgres: EmbeddedPostgres) -> Iterator[Oracles]:
    """Both roads, with the settings of all tests of parity."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in MLFLOW_SETTINGS.items():
            patch.setenv(name, value)
        yield Oracles(postgres.url, few())


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("release", [RELEASES[0], RELEASES[-1]], ids=lambda release: release.minor)
def test_each_difference_from_the_release_s_own_server_is_a_known_change_of_mlflow(oracles: Oracles, release: Release) -> None:
    result = oracles.ask(release)
    assert result.rows > 400
    assert (result.unknown, result.upgraded or 0) == (0, 0)
