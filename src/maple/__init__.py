"""Fine-tune open language models for many languages, and know what it did to each of them."""
