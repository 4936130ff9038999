"""Command line of intaglio."""
