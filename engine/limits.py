"""How many descriptors a process may have open at once."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

# More than any server of ours needs; a table that is much longer makes every fork slow.
ENOUGH = 65_536
# macOS says "unlimited" and takes no more than this.
MODEST = 10_240


def raise_descriptors() -> int:
    """The soft limit, as far up as the hard one lets it; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    for wanted in (ceiling, min(ceiling, MODEST)):
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                return wanted
    return soft


@contextlib.contextmanager
def kept_limits() -> Iterator[None]:
    """No limit changes within the block. For the import of mlx_lm, which sets that of descriptors to 2048 and
    4096: it lowers a higher one, and fails where the hard limit is lower.
    """
    set_limit = resource.setrlimit
    resource.setrlimit = lambda *_: None
    try:
        yield
    finally:
        resource.setrlimit = set_limit
