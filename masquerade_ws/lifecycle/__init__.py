"""The life of a client: its sessions, their threads and the table of transitions."""
