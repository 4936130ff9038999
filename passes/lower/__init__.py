"""From the quantized form to integers alone."""
