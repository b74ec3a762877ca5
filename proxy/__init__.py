"""Everything of fortieth that speaks HTTP."""

__version__ = "0.1.0"
