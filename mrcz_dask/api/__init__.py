"""What Python and the command line call: sessions as dask arrays, runs, counting, reproduction."""
