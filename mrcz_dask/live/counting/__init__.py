"""Electron counting of live frames."""
