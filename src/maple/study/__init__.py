"""The study file: what it may say, how it is read, which cells it spans, how cells are named."""
