"""What goes over the wire: URLs, frames, compression and events, without any I/O."""
