"""Words for what a gap in the recording hides."""

from __future__ import annotations

from typing import Final

# Of what began, and of what ended, in a gap: these stand where a cause would.
NOT_SEEN: Final = ("not seen before a gap in the recording", "not seen after a gap in the recording")
