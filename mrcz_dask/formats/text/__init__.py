"""Text beside stacks: .mdoc, STAR, dates."""
