"""What `fortieth connect` tells of each client. It needs the standard library alone."""
