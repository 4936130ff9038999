"""The codec of split models in C: for devices, and as a library that Python calls."""
