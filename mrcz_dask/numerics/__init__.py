"""Layer 1: arrays in, arrays out; no file, no Dask, no printing."""
