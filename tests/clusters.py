"""Cluster files for tests."""

from __future__ import annotations

CONTRACT = """\
nodes:
  - name: a
    count: 2
    devices: {type: A100-80GB, count: 8}
    interconnect: {bandwidth: 300 GB/s, latency: 3 us}
    network: {bandwidth: 200 Gb/s, latency: 10 us}
  - name: v
    devices: {type: V100-16GB, count: 4}
    interconnect: {bandwidth: 12 GB/s, latency: 10 us}
    network: {bandwidth: 25 Gb/s, latency: 30 us}
links:
  - {between: [a, v], bandwidth: 10 Gb/s, latency: 50 us}
types:
  box-cpu: {memory: 2 GiB, memory_bandwidth: 10 GB/s, flops: {float32: 50 GFLOP/s}}
"""
