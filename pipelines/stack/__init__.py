"""What the stack of `docker-compose.yml` needs besides the services' own code."""
