"""Records live frames: first to a spool file as they arrive, then as MRCZ stacks."""
