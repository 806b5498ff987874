"""The committed Python of the envelope is what the .proto generates."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_generated_code_is_up_to_date(tmp_path: Path) -> None:
    from grpc_tools import protoc

    arguments = ["", f"-I{ROOT}/proto/headrace/v1", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", "envelope.proto"]
    assert protoc.main(arguments) == 0
    for name in ("envelope_pb2.py", "envelope_pb2.pyi"):
        assert (tmp_path / name).read_text() == (ROOT / "app" / "queue" / name).read_text(), "run `make proto`"
