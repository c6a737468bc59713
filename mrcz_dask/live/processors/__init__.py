"""Runs users' own functions on live frames, each in a worker process of its own."""
