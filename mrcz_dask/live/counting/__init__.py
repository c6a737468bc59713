"""Counts the electrons of live raw frames."""
