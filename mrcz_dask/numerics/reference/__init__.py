"""Average neighboring stacks into a reference, fit its pattern to a stack, and subtract the pattern from the
frames.
"""
