"""The rules, by family. Importing this package registers all of them."""

from autopart.sharding.ops import factories, indexing, losses, matrices, networks, pointwise, reductions, views

__all__ = ["factories", "indexing", "losses", "matrices", "networks", "pointwise", "reductions", "views"]
