"""Table layers: found in a graph, put in the place of products, and made smaller."""
