"""The agent's workshop: a project to read, edit, search and test, by the tools of a dozen agents."""

from corpora.workshop.toolbox import WORKSHOPS

__all__ = ["WORKSHOPS"]
