"""One connection to the gateway for any number of worker processes, by way of a stream in Redis or Valkey."""
