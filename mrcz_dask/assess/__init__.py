"""Measures a session's correlated noise R: of every stack, over dose, by radius, and by method."""
