"""How a network learns: batches, the objective, the loop, and what survives a crash."""
