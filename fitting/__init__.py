"""What runs graphs on data: calibration and the steps that need it."""
