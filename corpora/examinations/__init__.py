"""Examinations of the bundled model beyond single turns: room, manners, correction, the workshop."""
