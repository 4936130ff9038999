"""Turns the nodes of a channels-last integer graph into TFLite operators, one family a module."""
