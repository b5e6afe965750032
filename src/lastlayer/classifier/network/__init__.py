"""From inputs to features to logits: backbones for images, tables and texts, and the model as one module."""
