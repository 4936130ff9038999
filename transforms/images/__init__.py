"""Pictures as arrays: resizing, colour, noise, and how alike two pictures are."""
