"""Correlated noise of stacks: measured, fitted, compared."""
