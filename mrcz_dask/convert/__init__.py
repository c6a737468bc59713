"""Converts single stacks: another codec or format, plain MRC, outliers filled, or a Zarr view."""
