"""The one exception of the readers."""


class Unreadable(Exception):
    """A file that gives no clean text; the text is a short reason to count by."""
