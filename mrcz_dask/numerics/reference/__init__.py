"""References of a window of stacks, the pattern fitted from them, and its removal from frames."""
