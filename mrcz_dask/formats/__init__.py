"""Files of all formats are read and written here: frames, metadata, provenance and checksums."""
