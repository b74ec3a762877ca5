"""Tool calls out of model text: text and schemas in, calls and findings out.

No I/O, clock, logging or threads.
"""
