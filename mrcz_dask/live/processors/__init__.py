"""Users' own functions of frames, each in a worker process of its own."""
