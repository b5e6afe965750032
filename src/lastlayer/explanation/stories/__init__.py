"""How each kind of computation is told. Losses and gradients are the library's own; checks hold the steps against them."""
