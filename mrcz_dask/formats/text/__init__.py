"""Reads and writes text files beside stacks (.mdoc, STAR), and dates in them."""
