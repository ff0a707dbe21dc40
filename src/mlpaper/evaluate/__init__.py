"""What a trained network does on the test set: metrics, confusion matrices, robustness to noise."""
