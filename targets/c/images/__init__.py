"""Table networks on images, as C: one plane of bytes of any size in, one plane out.

The network is streamed: a few rows of features of each layer, in strips of columns, are all that it
keeps. A kernel computes one block of neighbouring cells (:mod:`.interface`); the driver
(:mod:`.driver`) moves rows and blocks and knows no processor.
"""
