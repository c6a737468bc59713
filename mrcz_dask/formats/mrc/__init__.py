"""Reads and writes MRC and MRCZ files: header, frames, footer."""
