"""How nothing is lost and nothing happens twice: consumer, offset fence, outbox, relay, dead letters, due rows."""
