"""What a conversation is sent to: the bundled engine, a script for tests, and in remote/ other servers."""
