"""What calls raise, as text."""

from collections.abc import Callable


def message(call: Callable[[], object]) -> str:
    """Return what a call raises: "Type: message"."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"
