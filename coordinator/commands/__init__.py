"""The commands of `resurgam` that talk to a system, a module each."""
