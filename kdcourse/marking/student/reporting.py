"""The results of `check` as lines of text."""

from kdcourse.marking.student.base import Result

SHORT = {"right": "right", "wrong": "NOT right", "open": "open", "written": "written", "deleted": "deleted"}


def report(results: list[Result], warnings: list[str]) -> str:
    """The results as lines of text, with the marks, and what is left to do."""
    lines = []
    for result in results:
        marks = f"{result.earned:.3g} of {result.marks:g}" if result.automatic else f"{result.marks:g}, by a reader"
        lines.append(f"{SHORT[result.standing]:<10} {result.name:<22} {marks}")
        if result.message and result.standing != "open":
            lines.append(f"{'':11}{result.message}")
    lines += [f"warning    {warning}" for warning in warnings]
    automatic = [result for result in results if result.automatic]
    written = [result for result in results if not result.automatic]
    right, unanswered = (sum(result.standing == word for result in results) for word in ("right", "open"))
    earned = sum(result.earned for result in automatic)
    lines += [
        f"{earned:.3g} of {sum(result.marks for result in automatic):g} automatic marks, on the inputs of this run",
        f"{sum(result.standing == 'written' for result in written)} of {len(written)} written answers are there, for "
        f"{sum(result.marks for result in written):g} marks by a reader",
        f"{right} of {len(automatic)} checks are right; {unanswered} questions are open",
    ]
    return "\n".join(lines)
