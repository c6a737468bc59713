"""What a session looks like while it is processed: from the logbook, on a page, as metrics, as text."""
