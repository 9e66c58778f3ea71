"""The one exception of the sources."""


class SourceMissing(Exception):
    """A source that is not to be had on this machine; the text is the reason."""
