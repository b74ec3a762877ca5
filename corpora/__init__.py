"""Our own data: malformed calls, conversations, the tool world, and the recipe of the bundled model."""
