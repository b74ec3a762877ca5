"""What only a CPU needs: a fast BLAS, attention by numpy, and the layout of a network's weights."""
