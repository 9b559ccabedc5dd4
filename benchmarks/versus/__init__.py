"""A compiled plan beside what a user would do instead, on a mixed cluster on one machine.

    python -m benchmarks.versus                 all cases, five launches each; resumes; raw data in docs/benchmarks/versus.json
    python -m benchmarks.versus slow-link ...   some
    python -m benchmarks.versus --report        docs/benchmarks.md from the raw data

cases       clusters, workloads, and the contenders' settings that are tried
worker      what every rank runs: one contender after the other, in one launch
contenders  single device, DDP, FSDP2, ours;  pipelines: torch.distributed.pipelining;  tensor: Megatron's layout by DTensor
balance     the cut of a pipeline that an expert would make
"""
