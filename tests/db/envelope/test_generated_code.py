"""The committed Python is what the .proto files generate."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("name", "room"), [("envelope", "envelope"), ("health", "receiver/grpc")])
def test_generated_code_is_up_to_date(tmp_path: Path, name: str, room: str) -> None:
    from grpc_tools import protoc

    arguments = ["", f"-I{ROOT}/proto/headrace/v1", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", f"{name}.proto"]
    assert protoc.main(arguments) == 0
    for file in (f"{name}_pb2.py", f"{name}_pb2.pyi"):
        assert (tmp_path / file).read_text() == (ROOT / "app" / "headrace" / room / file).read_text(), "run `make proto`"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_generated_code_of_jaeger_is_up_to_date(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate_proto", ROOT / "proto" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.generate(ROOT, tmp_path) == 0
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len(files) == 6
    for file in files:
        assert (tmp_path / file).read_text() == (ROOT / "app/headrace/console/jaeger" / file).read_text(), "run `make proto`"
