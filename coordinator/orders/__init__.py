"""What operators order of a running system, and what came of it: the same for the command line and for HTTP."""
