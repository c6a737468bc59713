"""What the next programs read: STAR files, movies, lists."""
