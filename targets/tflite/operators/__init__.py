"""Readers of TFLite operators, one family a file."""
