"""Graph passes: a model in, the model and the evidence of what changed out."""
