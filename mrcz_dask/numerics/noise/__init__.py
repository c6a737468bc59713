"""Measure correlated noise R of stacks, fit its change with dose, and choose the window radius by it."""
