"""Compresses frames, and chooses the compression from a sample of the data."""
