"""Training of a bundle's module.

It has images in batches, the loop, checkpoints to continue from, and callbacks for pruning methods.
"""
