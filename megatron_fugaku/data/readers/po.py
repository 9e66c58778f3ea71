"""Gettext PO files: the translated messages, one paragraph each."""

from __future__ import annotations

from megatron_fugaku.data.readers.errors import Unreadable


def read_po(text: str) -> str:
    """The translations of all finished entries (not fuzzy, not obsolete), in file order.

    Raises:
        Unreadable: the text is not a PO file.
    """
    import polib

    try:
        catalogue = polib.pofile(text)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise Unreadable("not a PO file") from error
    messages = (
        message
        for entry in catalogue
        if entry.translated() and not entry.obsolete
        for message in (entry.msgstr_plural.values() if entry.msgid_plural else [entry.msgstr])
    )
    return "\n\n".join(message.strip() for message in messages)
