"""Records, images, readers and batches."""
