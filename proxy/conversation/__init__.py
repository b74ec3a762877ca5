"""What all parts of proxy/ share: the one type of request, the one stream of events, the tree of errors."""
