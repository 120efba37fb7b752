"""Processes that make one run together, told of each other as torchrun tells its own."""

import socket
from pathlib import Path

from tests import cli


def run(count: int, *words: str, cwd: Path) -> tuple[list[int | None], str, str]:
    """`python WORDS` in as many processes, to their end: exit statuses, and what all of them wrote."""
    world = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = ({"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count))
    processes = [cli.python(*words, cwd=cwd, env={**cli.environment(), **world, **rank}) for rank in ranks]
    written = [process.communicate(timeout=300) for process in processes]
    out, err = ("".join(texts) for texts in zip(*written, strict=True))
    return [process.returncode for process in processes], out, err


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
