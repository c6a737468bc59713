"""Correlated noise of a session, and comparisons of methods."""
