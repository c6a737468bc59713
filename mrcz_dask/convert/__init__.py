"""Convert stacks: another codec or format, plain counts, without outliers, or a view as Zarr."""
