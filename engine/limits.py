"""The limit of open descriptors of a process: raised at the start, kept while mlx_lm is imported."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

# More than any server of ours needs; a much longer table makes every fork slow.
ENOUGH = 65_536
# macOS says "unlimited" and takes no more than this.
MODEST = 10_240


def raise_descriptors() -> int:
    """Raises the soft limit as far as the hard limit allows; returns the soft limit."""
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
    """No limit changes within the block. For the import of mlx_lm, which sets the limit of descriptors to
    2048 and 4096: that lowers a higher one, and fails where the hard limit is lower.
    """
    set_limit = resource.setrlimit
    resource.setrlimit = lambda *_: None
    try:
        yield
    finally:
        resource.setrlimit = set_limit
