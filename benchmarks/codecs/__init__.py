"""Codecs as in J. Struct. Biol. 201, 252 (2018): Table 1, Figs. 2 and 3; `mrcz-dask bench codecs`."""
