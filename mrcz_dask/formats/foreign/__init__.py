"""Reads TIFF, EER, DM, HDF5 and Zarr, and writes TIFF and Zarr."""
