"""Questions to a plan: what bounds it, what else there is and why that lost, what would help, what if the cluster were
another.
"""
