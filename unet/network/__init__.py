"""The U-Net, its losses, and the saved run that holds a trained one."""
