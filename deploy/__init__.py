"""How Runtide is run: without Docker (`native`), with Docker (`Dockerfile`), and the configuration both share."""
