"""What only a CPU needs: a fast BLAS, attention by numpy, the layout of a network's weights."""
