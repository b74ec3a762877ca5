"""Who answers a conversation: the bundled engine, a script for tests, and in remote/ other servers."""
