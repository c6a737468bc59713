"""The session as a Dask collection, and runs over it: what Python and the command line call."""
