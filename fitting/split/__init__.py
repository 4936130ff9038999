"""Fits the codec of a cut to calibration samples."""
