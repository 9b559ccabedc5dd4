"""What autopart adds to a step and to a start, beside what a user would run without it.

    python -m benchmarks.overheads                  all parts, five launches each; resumes; parts are saved under out/overheads
    python -m benchmarks.overheads pipelines ...    some
    python -m benchmarks.overheads --write          also docs/benchmarks/overheads.json, and its tables in docs/benchmarks.md

modules    a package on one process beside the original model
compiled   the same, both under torch.compile
pipelines  a package's pipeline beside one written by hand and beside torch.distributed.pipelining's, with the same cuts
startup    from the command to the first step, beside a plain DDP script
imports    what importing takes

Contenders of a launch take turns, and ratios are of neighbours in time: what slows the machine slows both. Processor time is user
and system time of all threads, summed over the ranks.
"""
