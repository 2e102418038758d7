"""Tables of the pages that commands write."""


def table(head: list[str], body: list[list[str]]) -> str:
    """Markdown, a line for each row."""
    lines = [head, ["---"] * len(head), *body]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
