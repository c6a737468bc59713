"""The main job: sums and masks, windows, corrections, and the outputs with their provenance."""
