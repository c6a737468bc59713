"""Shows how a run is getting on: on a web page, as metrics, and for `mrcz-dask status`."""
