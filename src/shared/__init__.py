"""What training and scoring both need: weights files, inputs, the device, Dice."""
