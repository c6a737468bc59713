"""The lowest layer, used by all others: errors, parameters, records, messages and windows of stacks."""
