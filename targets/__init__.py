"""Targets: one folder a runtime; what it accepts, how it is written, run and measured."""
