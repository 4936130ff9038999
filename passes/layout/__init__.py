"""Layout of tensors: channels first or channels last, and the transposes between."""
