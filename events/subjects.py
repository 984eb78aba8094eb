"""Subject patterns as the broker understands them."""


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject fits a pattern: `*` stands for one token, a final `>` for one or more."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(given) > index
        if index >= len(given) or token not in ("*", given[index]):
            return False
    return len(wanted) == len(given)
