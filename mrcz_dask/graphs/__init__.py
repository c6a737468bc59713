"""Layer 3: a stack as a dask array of one chunk a frame, and plans that can be looked at before they run."""
