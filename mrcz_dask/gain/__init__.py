"""Gain references, darks and lists of defects: how they are read, checked and applied."""
