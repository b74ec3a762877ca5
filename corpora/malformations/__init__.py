"""True calls over invented tools, damaged on purpose, each with a label that says what a reader owes.

The label is decided by the one who does the damage, from the rules in docs/repair.md, and never by the
repairer. `table.MALFORMATIONS` lists every kind of damage; everything is drawn from a seed.
"""
