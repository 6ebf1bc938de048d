"""Loc3R-VLM in PyTorch: vision tower, pose prior, language model, heads, losses and checkpoints."""
