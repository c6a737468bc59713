"""Simulate sessions with known truth: fixed and evolving patterns, specimen, drift, hot and dead pixels."""

from __future__ import annotations

from mrcz_dask.numerics.simulate.params import SESSIONS, SimulationParams, named
from mrcz_dask.numerics.simulate.session import SimulatedSession, SimulatedStack, StackTruth, simulate_session

__all__ = [
    "SESSIONS",
    "SimulatedSession",
    "SimulatedStack",
    "SimulationParams",
    "StackTruth",
    "named",
    "simulate_session",
]
