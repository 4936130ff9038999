"""Split graphs: quantizers of features, their statistics, and what goes over the wire."""
