"""Malformed calls: true calls over invented tools, damaged on purpose and labelled.

A label says how a reader has to treat the call. It is decided by the code that does the damage, from the
rules in docs/repair.md, and never by the repairer. `table.MALFORMATIONS` lists every kind of damage;
everything is drawn from a seed.
"""
