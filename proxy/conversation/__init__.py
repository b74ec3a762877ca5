"""The one type of request, the one stream of events, and the one tree of errors that all parts of proxy/
share.
"""
