"""From messages to whoever takes them: streams, waits and listeners."""
