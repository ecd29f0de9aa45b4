"""Train a ResNet on the ranks of a cluster, in Flax or in PyTorch; README.md says how."""
