"""A process that has imported everything and forks for each command of `tests.cli`: imports take seconds, a fork none.

It reads its commands from a socket that is its standard input, and ends when the other end closes. One byte comes with
three descriptors: the command's standard output, its standard error, and a socket. There stands what to do, as JSON
(words, cwd, env), and two messages go back: the process number, and in the end the exit status, -N for signal N.
"""

import atexit
import gc
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
import threading
from contextlib import suppress
from importlib import import_module
from types import ModuleType

LIBRARIES = [  # imported inside functions
    "accelerate", "datasets", "evaluate", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg",
    "matplotlib.pyplot", "rouge_score.rouge_scorer", "sacrebleu", "scipy.stats", "transformers.models.t5.modeling_t5",
    "transformers.models.t5.tokenization_t5", "transformers.trainer", "wandb.sdk.launch",
]  # fmt: skip


def prepare() -> None:
    """Import what a command may need, all but the modules that are commands."""
    from hydra import compose, initialize_config_dir

    import analysis
    import calm_bench
    from calm_bench import compose as configuration

    for package in (calm_bench, analysis):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("__main__", ".certify")):
                with suppress(ImportError):  # an executor for a machine that this is not
                    import_module(module.name)
    for name in LIBRARIES:
        import_module(name)
    configuration.register()
    with initialize_config_dir(str(configuration.config_dir()), version_base="1.3"):
        compose("config")  # finds Hydra's plugins
    assert threading.active_count() == 1, f"a fork leaves others behind: {threading.enumerate()}"
    gc.collect()
    gc.freeze()  # nothing of this is touched, and so copied, by a child's collections


def serve(commands: socket.socket) -> list[str]:
    """Fork for each command; returns its words in the child that is to carry it out, ready to do so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the commands
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        _, descriptors, _, _ = socket.recv_fds(commands, 1, 3)
        if not descriptors:
            sys.exit()
        if os.fork() == 0:
            commands.close()
            return become(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def become(out: int, err: int, line: int) -> list[str]:
    """Fork once more: the parent waits for the child and reports, the child becomes the command."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with socket.socket(fileno=line) as asker:
        request = json.loads(asker.recv(1_000_000))
        if child := os.fork():
            os.close(out)
            os.close(err)
            asker.send(b"%d" % child)
            asker.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            os._exit(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, standard in ((out, 1), (err, 2)):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    media = import_module("wandb.sdk.data_types._private").MEDIA_TMP
    media._finalizer.detach()  # made as W&B is imported, and taken away at the end: each command has its own
    media.__init__("wandb-media")
    return request["words"]


def carry_out(option: str, what: str, *arguments: str) -> None:
    """What the interpreter does on `-m MODULE ARGUMENTS` and on `-c CODE ARGUMENTS`."""
    sys.argv = [option, *arguments]
    if option == "-m":
        sys.path[0] = os.getcwd()
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = ""
        sys.modules["__main__"] = main = ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), vars(main))


def status_of(words: list[str]) -> int:
    """Carry a command out; the exit status that the interpreter gives it, -N where signal N is to end it."""
    try:
        carry_out(*words)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def leave(status: int) -> None:
    """What the interpreter does at its end, but for taking modules apart.

    That touches all of memory, and what a fork touches is copied: half a second for each command.
    """
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status = 120
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    prepare()
    leave(status_of(serve(socket.socket(fileno=os.dup(0)))))
