"""What a classifier says of new rows: one batch shape, streams, files, and programs for elsewhere."""
