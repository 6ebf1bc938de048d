"""Text to token ids and back, and where the tokens stand. Needs `tokenizers` and numpy, nothing heavier."""
