"""Count electrons: find them in raw frames, make counted images, correct the dose for missed electrons."""
