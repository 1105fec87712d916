"""Parts of your own for uncollapse; every command of uncollapse in this project imports this."""

from PACKAGE import metrics

__all__ = ["metrics"]
