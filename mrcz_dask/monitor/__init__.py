"""What a session looks like while it is processed: from the log, on a page, as metrics, as text."""
