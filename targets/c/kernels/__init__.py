"""C code of each kind of layer, one kind a module, in variants for the processors."""
