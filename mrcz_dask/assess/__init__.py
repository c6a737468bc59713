"""Correlated noise of a session: every stack, over the dose, against the radius, and by method."""
