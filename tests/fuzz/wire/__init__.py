"""Odd HTTP/2 and HTTP/1.1, in bulk, against a running `headrace serve`. `make fuzz-wire` runs it for long; see docs/fuzzing.md.

`case`: what one connection sends, as a value and as a file. `http_cases`, `grpc_cases`: make cases from a seed, out of `odd`
values. `answers`: what came back. `peer`: plays a case. `watch`: whether Headrace is well. `hunt`: plays many cases, and finds
the one that did it.
"""
