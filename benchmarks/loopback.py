"""Configuration of several workers on one machine, for scaling.py and the tests."""

import json
import socket


def worker_configs(count: int) -> list[str]:
    """TF_CONFIG of each of `count` workers, on free ports of the loopback interface."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return [
        json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        for index in range(count)
    ]
