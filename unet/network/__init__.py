"""The U-Net, its losses, and the saved run that contains a trained network."""
