"""Training: tokenizer, vision tower, pose prior and the joint objective, at any size, with Hugging Face Accelerate."""
