#!/usr/bin/python3
"""The transports on a network between machines that are none: namespaces, a bridge, cards shaped to 1 Gbit/s.

Two processes that share no memory hammer each other with puts of all sizes, every byte checked, over each library; then
of four peers of a run one is cut off, and the others have to say so within the deadline.

    fabrics.py GOSSAMER FABRIC_PROCESS

Needs root, and `ip` and `tc` of iproute2; else it ends with 77 (skipped).  Its namespaces are named gsf-* and are removed at the
end.
"""
import os
import struct
import subprocess
import sys
import tempfile
import time

from namespaces import Network, missing

MEGABITS = 1000
SILENCE = 2.0
WIRES = {
    "ucx": ("ucx", "tcp,self", "eth0", '{kind: ucx, tls: "tcp,self", interface: 10.77.0.0/24}'),
    "libfabric": ("libfabric", "tcp", "10.77.0.0/24", "{kind: libfabric, provider: tcp, interface: 10.77.0.0/24}"),
}
RUN = """\
algorithm: d-psgd
topology: {{family: ring, peers: 4}}
trainer: {{task: quadratic, dimension: 20000, steps: 100000, pace: 20 ms, batch_size: 1}}
deadlines: {{heartbeat: 500 ms, silence: {silence} s}}
transport: {transport}
report: {{save_models: false, evaluate_every_epochs: 0}}
"""


# Another IPC namespace: as on another machine, no memory is shared and no process watched.
APART = ["unshare", "--ipc"]


def inside(namespace):
    return ["ip", "netns", "exec", namespace, *APART]


class Process:
    """A fabric_process: messages are a length and as many bytes."""

    def __init__(self, where, program, kind, transport, network, role):
        self.process = subprocess.Popen([*where, program, kind, transport, network, "", role], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self):
        head = self.process.stdout.read(4)
        if len(head) < 4:
            raise SystemExit("a process ended before it had said what it should")
        return self.process.stdout.read(struct.unpack("<I", head)[0])

    def write(self, message):
        self.process.stdin.write(struct.pack("<I", len(message)) + message)
        self.process.stdin.flush()

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        finally:
            self.process.kill()


def pound(places, program, kind, transport, interface):
    """Puts of all sizes from the second place to the first, each checked and answered.  "ok NUMBER BYTES", or what went wrong."""
    sink = Process(places[0], program, kind, transport, interface, "sink")
    hammer = Process(places[1], program, kind, transport, interface, "hammer")
    try:
        who = [sink.read() for _ in range(4)]
        sink.write([hammer.read() for _ in range(4)][0])
        for message in who:
            hammer.write(message)
        return hammer.read().decode()
    finally:
        hammer.close()
        sink.close()


def hammer(network, program, name):
    verdict = pound([inside(namespace) for namespace in network.names[:2]], program, *WIRES[name][:3])
    print(f"{name}: {verdict}", flush=True)
    word, *numbers = verdict.split()
    if word != "ok" or int(numbers[1]) < 20_000_000:
        return f"{name}: the puts did not come through: {verdict}"
    if int(numbers[1]) > MEGABITS / 8 * 1e6 * 8:
        return f"{name}: {numbers[1]} bytes cannot have gone over this network"
    return None


def cut(network, gossamer, name, folder):
    file = os.path.join(folder, "run.yaml")
    with open(file, "w") as text:
        text.write(RUN.format(transport=WIRES[name][3], silence=SILENCE))
    errors = [os.path.join(folder, f"errors-{rank}") for rank in range(4)]

    def said(rank):
        with open(errors[rank]) as text:
            return text.read()

    peers = [subprocess.Popen([*inside(namespace), gossamer, "peer", file, "--verbose", "--rank", str(rank), "--peers", "4",
                               "--rendezvous", "10.77.0.1:29412", "--out", os.path.join(folder, f"out-{name}")],
                              stdout=subprocess.DEVNULL, stderr=open(errors[rank], "w"))
             for rank, namespace in enumerate(network.names)]
    wrong = []
    try:
        patience = time.monotonic() + 30
        while "all peers are here" not in said(0) and time.monotonic() < patience and all(peer.poll() is None for peer in peers):
            time.sleep(0.1)
        time.sleep(1)  # they train
        early = [rank for rank, peer in enumerate(peers) if peer.poll() is not None]
        if early or "all peers are here" not in said(0):
            return f"{name}: the run did not get going; ended: {early}\n{said(early[0] if early else 0)}"
        network.cut(2)
        start = time.monotonic()
        for rank in (0, 1, 3):
            try:
                peers[rank].wait(timeout=SILENCE + 10)
            except subprocess.TimeoutExpired:
                wrong.append(f"{name}: peer {rank} has not ended {SILENCE + 10:.0f} s after peer 2 was cut off:\n{said(rank)}")
                continue
            noticed = [line for line in said(rank).splitlines() if "rank 2" in line and "silent for" in line]
            print(f"{name}: peer {rank} ended with {peers[rank].returncode} after {time.monotonic() - start:.1f} s: {noticed}", flush=True)
            if peers[rank].returncode != 5 or not noticed:
                wrong.append(f"{name}: peer {rank} ended with {peers[rank].returncode}, not as after a lost peer:\n{said(rank)}")
    finally:
        for peer in peers:
            peer.kill()
            peer.wait()
    return "\n".join(wrong) or None


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    if reason := missing():
        print(f"skipped: {reason}")
        return 77
    wrong = []
    for name in WIRES:
        network = Network(4, MEGABITS, prefix="gsf")
        try:
            with tempfile.TemporaryDirectory(prefix="gossamer-fabrics-") as folder:
                wrong.append(hammer(network, sys.argv[2], name))
                wrong.append(cut(network, sys.argv[1], name, folder))
        finally:
            network.close()
    wrong = [line for line in wrong if line]
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
