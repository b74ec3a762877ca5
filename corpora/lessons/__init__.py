"""Lessons for the next bundled model: room, manners and correction, generated from a seed."""
