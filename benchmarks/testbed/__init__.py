"""A mixed cluster on one Linux machine: hosts are network namespaces, ranks are processes in cgroups.

Needs root and version 1 of cgroups:

python -m benchmarks.testbed run hosts.yaml script.py arguments     the script on every rank, with torchrun's variables
python -m benchmarks.testbed cluster hosts.yaml                     the cluster.yaml that describes these hosts, nominally
python -m benchmarks.testbed clean                                  removes what a killed testbed left behind

spec        hosts.yaml -> Testbed
namespaces  a namespace a host, a bridge between them, rates (tc) and latencies (relay)
cgroups     a cpu, a cpuacct and a memory cgroup a rank
launch      runs a command on all ranks -> what each used and how it ended
"""
