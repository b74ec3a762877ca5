"""The long run (`make soak`): agents that loop for hours over servers that are restarted, killed and left."""
