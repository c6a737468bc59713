"""Comparisons between the stacks of a session: contrast, epochs, copies."""
