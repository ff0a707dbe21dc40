"""What is measured of a trained network: metrics, confusion matrices, robustness to noise, norms of gradients."""
