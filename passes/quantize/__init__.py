"""From a float graph to the quantized form."""
