"""Training of table networks: differentiable table layers and the networks made of them."""
