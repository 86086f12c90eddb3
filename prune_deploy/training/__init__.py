"""Training a bundle's module further: images in batches, the loop, checkpoints it can go on from, and a seam for methods that look on."""
