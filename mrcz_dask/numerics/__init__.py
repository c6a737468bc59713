"""Computations on NumPy arrays: arrays in, arrays out; no file, no Dask, no printing.

Numbers of equations, sections and Table 1 are those of the preprint, bioRxiv 116533.
"""
