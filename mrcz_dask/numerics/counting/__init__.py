"""Electron counting: raw linear frames to events, counted images and the dose that corrects their losses."""
