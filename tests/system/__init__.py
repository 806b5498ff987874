"""Tests of a spawned `headrace`."""
