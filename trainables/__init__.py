"""How one configuration is trained: settings, data, the gated ResNet, its loop, and the loop as Ray Tune runs it."""
