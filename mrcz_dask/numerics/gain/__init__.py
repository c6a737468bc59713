"""Gain references, darks and gamma: applied, fitted, turned."""
