"""One module per flow. Each imports its heavy libraries when it runs, so that serving them costs nothing."""
