"""``autopart devices --detect``: a cluster file for this machine, an allocation of Slurm or the hosts of a file."""
