"""Average neighboring stacks into a reference, fit its pattern to a stack, subtract that from frames."""
