"""Reads and writes stacks in files of all formats: frames, metadata, provenance, checksums."""
