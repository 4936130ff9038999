"""``verify``: all artifacts of a bundle on the same inputs, compared."""
