"""How each kind of computation is told: losses and gradients are the library's own; checks hold the steps to them."""
