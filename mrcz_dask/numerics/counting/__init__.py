"""Count electrons: find each electron in raw frames, make counted images, and correct the dose for missed
electrons.
"""
