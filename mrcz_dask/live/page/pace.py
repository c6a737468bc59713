"""No more updates than a browser can take: on a slow line they would pile up in the server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bokeh.document import Document
from bokeh.models import CustomJS, Model

# So many updates may be on their way; after so many seconds without an answer the next one goes all the same.
UNANSWERED, SECONDS = 2, 5.0
ANSWER = "answer.tags = cb_obj.tags"


class Pace:
    """Numbers updates, and hears from the browser which one it has shown.

    Parameters
    ----------
    number, answer
        Models of the document whose tags take the number there and back.
    clock
        Seconds.
    """

    def __init__(self, number: Model, answer: Model, clock: Callable[[], float] = time.monotonic) -> None:
        self._number, self._clock = number, clock
        self._sent, self._heard, self._last = 0, 0, 0.0
        number.js_on_change("tags", CustomJS(args={"answer": answer}, code=ANSWER))
        answer.on_change("tags", self._hear)

    def _hear(self, name: str, old: object, new: list[Any]) -> None:
        self._heard = max(self._heard, *(int(one) for one in new)) if new else self._heard

    def is_due(self, document: Document, over: bool) -> bool:
        """Return whether somebody looks, and is ready for more; the last state does not wait until he is."""
        session = getattr(document.session_context, "session", None)
        if session is None:
            return True
        waits = self._sent - self._heard >= UNANSWERED and self._clock() - self._last < SECONDS
        return session.connection_count > 0 and (over or not waits)

    def count(self) -> None:
        """Number the update that is made now."""
        self._sent, self._last = self._sent + 1, self._clock()
        self._number.tags = [self._sent]
