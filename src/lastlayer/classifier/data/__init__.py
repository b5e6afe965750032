"""From what a person names as data to rows, splits and tensors."""
