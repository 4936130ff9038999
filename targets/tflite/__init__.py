"""TFLite files: read and written; LiteRT and TFLite Micro run them."""
