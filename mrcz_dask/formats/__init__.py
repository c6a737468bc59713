"""Layer 2: MRC and MRCZ on bytes, streams and paths; the footer and its provenance."""
