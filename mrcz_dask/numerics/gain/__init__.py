"""Apply gain references, darks and gamma to frames, fit them to the frames' size, and find their
orientation.
"""
