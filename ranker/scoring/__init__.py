"""How texts and pairs reach a model fast."""
