"""Pure decisions about requests: no I/O, no clock, no message."""
