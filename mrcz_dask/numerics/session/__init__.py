"""Compare the stacks of a session: high contrast, breaks, and copies of the same data."""
