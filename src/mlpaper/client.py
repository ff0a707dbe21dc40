"""`mlpaper` as the rules call it: hands a job to a server (`mlpaper.server`), or starts it where there is none.

It runs as a script, without `site` and with nothing imported but C modules, in a fiftieth of a second.
"""

import os
import struct
import sys

GROUP_OF = {
    **dict.fromkeys(("train", "evaluate", "confusion", "robustness", "gradients", "prepare", "split"), "runs"),
    **dict.fromkeys(("study", "judge", "ledger", "figure", "table", "numbers", "paper", "arxiv"), "paper"),
}
"""The server of a command. Others are not worth one: they wait for a network or need a GPU."""
HEADER = "!II"
"""Length of what follows; number of arguments. Then, with a zero byte between: folder, arguments, environment."""
ACCEPTED = b"+"
EXIT_CODE = "!i"
KILLED, INTERRUPTED = 128 + 9, 128 + 2
MORE_MEMORY = "run fewer jobs at a time (--cores), or on a machine that has more"
SERVER = "MLPAPER_SERVER"
"""Names the path of the servers' sockets, without the group."""
SNAKEMAKE = "MLPAPER_SNAKEMAKE"
"""Names the process that starts the jobs, and without which none goes on."""


def run(arguments: list[str]) -> int | None:
    """The exit code of a job that a server did; None where no server took it."""
    from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket

    place, command = os.environ.get(SERVER), next((it for it in arguments if it in GROUP_OF), None)
    if not place or command is None or arguments[: arguments.index(command)] not in ([], ["--threads", "1"]):
        return None
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.connect(f"{place}.{GROUP_OF[command]}")
        variables = [name + b"=" + value for name, value in os.environb.items()]
        text = b"\0".join([os.fsencode(it) for it in (os.getcwd(), *arguments)] + variables)  # noqa: PTH109
        streams = [(SOL_SOCKET, SCM_RIGHTS, struct.pack("3i", 0, 1, 2))]
        connection.sendmsg([struct.pack(HEADER, len(text), len(arguments))], streams)
        connection.sendall(text)
        accepted = connection.recv(1) == ACCEPTED
    except OSError:
        return None
    if not accepted:
        return None
    answer = connection.recv(struct.calcsize(EXIT_CODE))
    if len(answer) < struct.calcsize(EXIT_CODE):
        sys.stderr.write("mlpaper: the server of this job was killed\n")
        return 1
    code = int(struct.unpack(EXIT_CODE, answer)[0])
    if code == KILLED:
        sys.stderr.write(f"mlpaper: this job was killed (signal 9); most often memory ran out: {MORE_MEMORY}\n")
    return code


if __name__ == "__main__":
    try:
        if (code := run(sys.argv[1:])) is None:
            os.execv(sys.executable, [sys.executable, "-m", "mlpaper", *sys.argv[1:]])
    except KeyboardInterrupt:  # Ctrl-C; the job ends with this process
        code = INTERRUPTED
    sys.exit(code)
