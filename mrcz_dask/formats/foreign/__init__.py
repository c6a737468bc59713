"""Formats of others: TIFF, EER, DM, HDF5 and Zarr."""
