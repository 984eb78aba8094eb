"""The health of a farm: who is well, who is not, on what evidence, and what is being done about it."""
