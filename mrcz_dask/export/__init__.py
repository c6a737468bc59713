"""Exports outputs for the next program: movies, lists of defects, STAR files, and a README."""
