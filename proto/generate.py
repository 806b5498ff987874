"""Generates the Python code of Jaeger's .proto files: `make proto`. OTLP's own come from the package opentelemetry-proto."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc
from opentelemetry.proto.trace.v1 import trace_pb2

FILES = ("trace_storage.proto", "dependency_storage.proto", "capabilities.proto")


def generate(root: Path, target: Path) -> int:
    """Writes the modules of `FILES` to a directory. Returns protoc's exit status."""
    described = FileDescriptorSet()
    _describe(trace_pb2.DESCRIPTOR, described)
    include = Path(protoc.__file__).parent / "_proto"
    with TemporaryDirectory() as directory:
        descriptors = Path(directory) / "otlp.bin"
        descriptors.write_bytes(described.SerializeToString())
        paths = [f"-I{root}/proto/jaeger/storage/v2", f"-I{include}", f"--descriptor_set_in={descriptors}"]
        return int(protoc.main(["", *paths, f"--python_out={target}", f"--pyi_out={target}", *FILES]))


def _describe(file: FileDescriptor, described: FileDescriptorSet) -> None:
    """Adds a file, and before it those that it imports."""
    for imported in file.dependencies:
        _describe(imported, described)
    if file.name not in {known.name for known in described.file}:
        file.CopyToProto(described.file.add())


if __name__ == "__main__":
    ROOT = Path(__file__).parents[1]
    sys.exit(generate(ROOT, ROOT / "app" / "headrace" / "console" / "jaeger"))
