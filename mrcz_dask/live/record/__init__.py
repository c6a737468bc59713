"""Live frames on the disk: a spool while they come, then MRCZ stacks."""
