"""The one type of request, the one stream of events, and the tree of errors that everything shares."""
