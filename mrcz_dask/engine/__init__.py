"""Runs tasks over stacks on Dask: the clients, the loop that submits tasks, memory, clusters."""
