"""How a network learns: the engine, augmentation, losses, learning rate, optimizers, processes, resuming."""
