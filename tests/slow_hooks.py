"""pytest's hooks of the slow tier (slow.py). A part of tests/conftest.py.

`--slow=all`, the default: all tests run. `--slow=changed`: slow tests run only if what they depend on has changed since their
last pass; the others are deselected, and the header and the summary name them. `--slow=record`: slow tests alone run, and those
that pass get a new line in tests/slow.lock.
"""

import subprocess
from collections import Counter
from collections.abc import Sequence

import pytest
from slow import LOCK, ROOT, Declared, WrongDeclaration, checkout, declarations, digest, has_changed, read_lock, written_lock

ALL, CHANGED, RECORD = "all", "changed", "record"
NAME = "slow-tier"


class SlowTier:
    """The slow tier in one run of pytest. `left_out`: what does not run."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.files = checkout()
        self.declared = declarations(self.files)
        lock = read_lock(self.files)
        self.left_out = [each for each in self.declared if how == CHANGED and not has_changed(each, self.files, lock)]
        self.before = {each: digest(each, self.files) for each in self.declared} if how == RECORD else {}
        self._passed: Counter[Declared] = Counter()
        self._expected: Counter[Declared] = Counter()

    def choose(self, items: Sequence[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
        """The tests that run, and those that do not."""
        chosen: list[pytest.Item] = []
        left: list[pytest.Item] = []
        for item in items:
            declared = next((each for each in self.declared if each.has(item.nodeid)), None)
            runs = declared is not None if self.how == RECORD else declared not in self.left_out
            (chosen if runs else left).append(item)
            if declared is not None:
                item.user_properties.append(("slow", declared.tests))
        counts = Counter(dict(item.user_properties).get("slow") for item in chosen)
        for item in chosen:
            if "slow" in (said := dict(item.user_properties)):
                item.user_properties.append(("slow tests", counts[said["slow"]]))  # so that it is seen when a run ends early
        return chosen, left

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """pytest's hook. Of several processes, each worker has the items."""
        chosen, left = self.choose(items)
        if left:
            config.hook.pytest_deselected(items=left)
            items[:] = chosen

    def pytest_report_header(self) -> list[str]:
        """pytest's hook."""
        if self.how == RECORD:
            return [f"slow tier: it runs alone, and what passes is noted in {LOCK}"]
        runs = [each for each in self.declared if each not in self.left_out]
        return [
            f"slow tier: {len(runs)} of {len(self.declared)} have changed since their last pass ({LOCK}), and run; "
            f"{len(self.left_out)} do NOT run",
            *(f"  runs: {each.tests}" for each in runs),
            *(f"  does not run: {each.tests}" for each in self.left_out),
        ]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """pytest's hook, in the first process too where there are several. A test with an error at its end has not passed."""
        said = dict(report.user_properties)
        declared = next((each for each in self.declared if each.tests == said.get("slow")), None)
        if declared is not None:
            self._expected[declared] = int(str(said["slow tests"]))
            self._passed[declared] += (report.when == "call" and report.passed) - (report.when != "call" and not report.passed)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """pytest's hook."""
        lines = self._record() if self.how == RECORD else [*map(why_not, self.left_out)]
        if lines:
            terminalreporter.section("slow tier" if self.how == RECORD else "slow tier: NOT run, and not counted as passed")
            for line in lines:
                terminalreporter.write_line(line)

    def passed(self) -> dict[str, str]:
        """What has passed as a whole, and its digest. Of what was changed meanwhile, nobody knows what was tested."""
        now = checkout()
        whole = [each for each, count in self._expected.items() if self._passed[each] == count]
        return {each.tests: self.before[each] for each in whole if digest(each, now) == self.before[each]}

    def _record(self) -> list[str]:
        """Writes the lock file, and says what it has written."""
        now, passed = checkout(), self.passed()
        (ROOT / LOCK).write_text(written_lock(read_lock(now) | passed, now))
        missing = sorted(each.tests for each in self.declared if each.tests not in passed)
        return [*(f"noted: {tests}" for tests in sorted(passed)), *(f"NOT noted: {tests}" for tests in missing)]


def why_not(declared: Declared) -> str:
    """One line."""
    return f"{declared.tests}: nothing that it depends on ({', '.join(declared.names)}, …) has changed since its last pass"


def pytest_addoption(parser: pytest.Parser) -> None:
    """pytest's hook."""
    parser.addoption(
        "--slow",
        choices=[ALL, CHANGED, RECORD],
        default=ALL,
        help="slow tests: all (the default); those whose rooms have changed since tests/slow.lock; or they alone, noted there",
    )


def pytest_configure(config: pytest.Config) -> None:
    """pytest's hook, in each process."""
    config.addinivalue_line("markers", "slow(names): rooms and paths that a slow test depends on; see tests/slow.py")
    how = config.getoption("slow")
    if how == RECORD and is_partial(config):
        raise pytest.UsageError("--slow=record takes whole files: no -k, -m, --lf or single tests")
    if how != ALL:
        try:
            config.pluginmanager.register(SlowTier(how), NAME)
        except WrongDeclaration as error:
            raise pytest.UsageError(str(error)) from None
        except (OSError, subprocess.CalledProcessError) as error:
            if how == RECORD:
                raise pytest.UsageError(f"--slow={how} needs git and a clone of the repository: {error}") from None


def pytest_report_header(config: pytest.Config) -> list[str]:
    """pytest's hook. Where git cannot tell what has changed, all tests run."""
    return [] if config.pluginmanager.has_plugin(NAME) else ["slow tier: all of it runs"]


def is_partial(config: pytest.Config) -> bool:
    """Whether the run was asked for some of a file's tests only."""
    chosen = [config.getoption(name, None) for name in ("keyword", "markexpr", "deselect", "lf", "last_failed")]
    return any(chosen) or any("::" in argument for argument in config.args)
