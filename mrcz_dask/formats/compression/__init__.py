"""Codecs compress frames into chunks; one is chosen from a sample of the data."""
