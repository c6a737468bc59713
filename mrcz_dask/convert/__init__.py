"""Stacks written again in another format, without their outliers, or shown as Zarr."""
