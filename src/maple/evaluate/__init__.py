"""(language model, task, subset) -> responses; responses -> scores. Knows no torch, no store."""
