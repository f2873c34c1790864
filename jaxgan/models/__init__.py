"""The networks, one module a family: linen modules in pairs, for any training loop.

Each is called as `(z or x, c, keys=, train=, axis=)`, or says how it differs: c labels int [B] or vectors [B, classes] (ignored
when classes = 0), keys one typed key per image (needed where the network draws in training), axis the mapped axis that batch
statistics are averaged over. Images are [B, H, W, C] float32 in [-1, 1].
"""
