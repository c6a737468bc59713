"""Tasks over stacks on Dask: which clients there are, the loop that carries a job out, memory, clusters."""
