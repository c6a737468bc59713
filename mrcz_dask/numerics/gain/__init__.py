"""Apply gain references, darks and gamma to frames, resize them to the frames, find their orientation."""
