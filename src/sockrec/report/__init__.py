"""A capture as one page to mail: findings, figures on one time axis, and the sockets of any moment.

`scope` is what the page is about; `lanes`, `levels`, `flows` and `moments` make what it shows, thinned where
that is too much; `packing` makes bytes of it; `page` puts it together with what is in `assets`.
"""

from sockrec.report.page import make_page
from sockrec.report.scope import Scope, choose

__all__ = ["Scope", "choose", "make_page"]
