"""Readers and writers of TIFF, EER, DM, HDF5 and Zarr."""
