"""Several workers on one machine: what scaling.py and the tests start them with."""

import json
import socket


def worker_configs(count: int) -> list[str]:
    """TF_CONFIG of each of so many workers, on free ports of the loopback."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    workers = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return [
        json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        for index in range(count)
    ]
