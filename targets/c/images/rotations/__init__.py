"""TinyLUT's structure as C: two bit branches, four rotations, streamed by rows.

The picture is never turned. A window of the picture turned by 90 degrees is a window of the picture
with its taps in another order, and its sub-pixels come in another order too; so each rotation reads
the same rows through other pointers (:mod:`.turning`).
"""
