"""What every implementation of a seam must do: one suite a seam, run over each of its implementations."""

import pytest

pytest.register_assert_rewrite("contracts.queue")
