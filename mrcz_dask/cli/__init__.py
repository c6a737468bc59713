"""The command line `mrcz-dask`: commands, their options, and what they print."""
