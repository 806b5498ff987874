from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RoutedBy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUTED_BY_UNSPECIFIED: _ClassVar[RoutedBy]
    ROUTED_BY_HEADER: _ClassVar[RoutedBy]
    ROUTED_BY_RESOURCE: _ClassVar[RoutedBy]
    ROUTED_BY_RULE: _ClassVar[RoutedBy]
    ROUTED_BY_DEFAULT: _ClassVar[RoutedBy]

class Signal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SIGNAL_TRACES: _ClassVar[Signal]
    SIGNAL_METRICS: _ClassVar[Signal]
    SIGNAL_LOGS: _ClassVar[Signal]
ROUTED_BY_UNSPECIFIED: RoutedBy
ROUTED_BY_HEADER: RoutedBy
ROUTED_BY_RESOURCE: RoutedBy
ROUTED_BY_RULE: RoutedBy
ROUTED_BY_DEFAULT: RoutedBy
SIGNAL_TRACES: Signal
SIGNAL_METRICS: Signal
SIGNAL_LOGS: Signal

class Destination(_message.Message):
    __slots__ = ("experiment_id", "experiment_name", "routed_by", "run_id", "run_name", "forward")
    EXPERIMENT_ID_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_NAME_FIELD_NUMBER: _ClassVar[int]
    ROUTED_BY_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_NAME_FIELD_NUMBER: _ClassVar[int]
    FORWARD_FIELD_NUMBER: _ClassVar[int]
    experiment_id: str
    experiment_name: str
    routed_by: RoutedBy
    run_id: str
    run_name: str
    forward: bool
    def __init__(self, experiment_id: _Optional[str] = ..., experiment_name: _Optional[str] = ..., routed_by: _Optional[_Union[RoutedBy, str]] = ..., run_id: _Optional[str] = ..., run_name: _Optional[str] = ..., forward: _Optional[bool] = ...) -> None: ...

class Limit(_message.Message):
    __slots__ = ("experiment_ids", "experiment_names")
    EXPERIMENT_IDS_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_NAMES_FIELD_NUMBER: _ClassVar[int]
    experiment_ids: _containers.RepeatedScalarFieldContainer[int]
    experiment_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, experiment_ids: _Optional[_Iterable[int]] = ..., experiment_names: _Optional[_Iterable[str]] = ...) -> None: ...

class Envelope(_message.Message):
    __slots__ = ("received_unix_nano", "destinations", "run_id", "user_agent", "key_name", "max_tags", "limit", "signal", "positions", "request")
    RECEIVED_UNIX_NANO_FIELD_NUMBER: _ClassVar[int]
    DESTINATIONS_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    USER_AGENT_FIELD_NUMBER: _ClassVar[int]
    KEY_NAME_FIELD_NUMBER: _ClassVar[int]
    MAX_TAGS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    received_unix_nano: int
    destinations: _containers.RepeatedCompositeFieldContainer[Destination]
    run_id: str
    user_agent: str
    key_name: str
    max_tags: int
    limit: Limit
    signal: Signal
    positions: _containers.RepeatedScalarFieldContainer[int]
    request: bytes
    def __init__(self, received_unix_nano: _Optional[int] = ..., destinations: _Optional[_Iterable[_Union[Destination, _Mapping]]] = ..., run_id: _Optional[str] = ..., user_agent: _Optional[str] = ..., key_name: _Optional[str] = ..., max_tags: _Optional[int] = ..., limit: _Optional[_Union[Limit, _Mapping]] = ..., signal: _Optional[_Union[Signal, str]] = ..., positions: _Optional[_Iterable[int]] = ..., request: _Optional[bytes] = ...) -> None: ...
