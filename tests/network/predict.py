#!/usr/bin/python3
"""Real peers on a network of known speed, beside what the simulator predicts for them.

Four network namespaces joined by a bridge, each one's card shaped to the given rate (out, as `tc` does
it; into the card too where one peer gets more than it sends); in each a `gossamer peer`.  The same
run is simulated with that rate.  Prints a row per run and fails where prediction and measurement are further apart than
the tolerance.

    predict.py GOSSAMER [--rates 100 1000] [--tolerance 0.15] [--repeat 3]

Needs root, and `ip` and `tc` of iproute2; else it ends with 77 (skipped).  Its namespaces are named gsm-* and are
removed at the end.  Wants a machine that does nothing else.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

PEERS = 4
# What of a rate is left for payloads: 1448 bytes of each frame of 1514 (Ethernet, IP and TCP headers with timestamps).
GOODPUT = 1448 / 1514

# Steps are paced, so that two cores are enough for four peers.
RUN = """\
algorithm: {algorithm}
topology: {topology}
{more}
trainer: {{task: quadratic, dimension: 500000, steps: {steps}, pace: 50 ms, batch_size: 1}}
transport: {{kind: ucx, tls: "tcp,self", interface: eth0}}
report: {{save_models: false, evaluate_every_epochs: 0}}
"""
RUNS = {
    "d-psgd on a ring": ("d-psgd", "{family: ring, peers: 4}", "", False),
    "all-reduce": ("all-reduce", "{family: complete, peers: 4}", "", False),
    "choco-sgd, qsgd 4 bits, on a ring": ("choco-sgd", "{family: ring, peers: 4}", "compression: {codec: qsgd, bits: 4}", False),
    "parameter server": ("parameter-server", "{family: star, peers: 4}", "", True),
}


def run(*words, **options):
    return subprocess.run(words, check=True, stdout=subprocess.DEVNULL, **options)


class Network:
    """Namespaces gsm-0 .. gsm-3, each with eth0 at 10.77.0.1 .. 10.77.0.4."""

    def __init__(self, megabits, both_ways):
        self.names = [f"gsm-{i}" for i in range(PEERS)]
        self.close()
        run("ip", "netns", "add", "gsm-hub")
        run("ip", "-n", "gsm-hub", "link", "add", "br0", "type", "bridge")
        run("ip", "-n", "gsm-hub", "link", "set", "br0", "up")
        for i, name in enumerate(self.names):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", f"port{i}", "netns", "gsm-hub")
            run("ip", "-n", "gsm-hub", "link", "set", f"port{i}", "master", "br0", "up")
            run("ip", "-n", name, "addr", "add", f"10.77.0.{i + 1}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            # A burst is what passes at once after a pause: about 2.5 ms' worth.
            for namespace, device in ((name, "eth0"), ("gsm-hub", f"port{i}"))[: 2 if both_ways else 1]:
                run("tc", "-n", namespace, "qdisc", "add", "dev", device, "root", "tbf", "rate", f"{megabits}mbit",
                    "burst", f"{max(32, megabits * 32 // 100)}kb", "latency", "200ms")

    def close(self):
        for name in [*self.names, "gsm-hub"]:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


def measure(gossamer, network, file, out):
    """Seconds per round of real peers, one per namespace."""
    peers = []
    for rank, name in enumerate(network.names):
        words = ["ip", "netns", "exec", name, gossamer, "peer", file, "--quiet", "--rank", str(rank), "--peers", str(PEERS),
                 "--rendezvous", "10.77.0.1:29411", "--out", out]
        peers.append(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
    try:
        for rank, peer in enumerate(peers):
            _, errors = peer.communicate(timeout=300)
            if peer.returncode != 0:
                sys.exit(f"peer {rank} ended with {peer.returncode}: {errors}")
    finally:
        for peer in peers:
            if peer.poll() is None:
                peer.kill()
    with open(os.path.join(out, "summary.json")) as file:
        summary = json.load(file)
    return summary["wall_s"] / summary["peers"][0]["rounds"]


def step_time(gossamer, file, folder):
    """What a step costs where the network costs nothing: pace, encoding, mixing and optimizer."""
    out = os.path.join(folder, "loopback")
    run(gossamer, "run", file, "--quiet", "--out", out, "--force", "--set", "transport={kind: loopback}")
    with open(os.path.join(out, "summary.json")) as file:
        summary = json.load(file)
    return summary["wall_s"] / summary["peers"][0]["rounds"]


def predict(gossamer, file, megabits, step, folder):
    network = os.path.join(folder, "network.yaml")
    with open(network, "w") as text:
        text.write(f"latency: 100 us\ncard_bandwidth: {megabits / 8 * GOODPUT:.4f} MB\ncompute: {step * 1e6:.0f} us\n")
    answer = subprocess.run([gossamer, "simulate", file, "--network", network, "--json"], check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)["seconds_per_round"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gossamer")
    parser.add_argument("--rates", type=int, nargs="+", default=[100, 1000], help="Mbit/s")
    parser.add_argument("--tolerance", type=float, default=0.15)
    parser.add_argument("--repeat", type=int, default=3, help="measurements of each run; the median counts")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--both-ways", action="store_true", help="shape every card in both directions")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("tc"):
        print("skipped: needs root, ip and tc (Debian: iproute2)")
        return 77
    probe = subprocess.run(["ip", "netns", "add", "gsm-probe"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", "gsm-probe"], stderr=subprocess.DEVNULL)
    if probe.returncode != 0:
        print(f"skipped: this machine allows no network namespaces: {probe.stderr.strip()}")
        return 77

    far = []
    print(f"{'run':36} {'Mbit/s':>7} {'measured ms':>12} {'(least..most)':>16} {'predicted ms':>13} {'ratio':>6}")
    for megabits in arguments.rates:
        for name, (algorithm, topology, more, both_ways) in RUNS.items():
            network = Network(megabits, both_ways or arguments.both_ways)
            try:
                with tempfile.TemporaryDirectory(prefix="gossamer-predict-") as folder:
                    file = os.path.join(folder, "run.yaml")
                    with open(file, "w") as text:
                        text.write(RUN.format(algorithm=algorithm, topology=topology, more=more, steps=arguments.steps))
                    measured = sorted(measure(arguments.gossamer, network, file, os.path.join(folder, f"out{i}"))
                                      for i in range(arguments.repeat))
                    predicted = predict(arguments.gossamer, file, megabits, step_time(arguments.gossamer, file, folder), folder)
            finally:
                network.close()
            median = statistics.median(measured)
            ratio = predicted / median
            spread = f"({measured[0] * 1e3:.0f}..{measured[-1] * 1e3:.0f})"
            print(f"{name:36} {megabits:7} {median * 1e3:12.1f} {spread:>16} {predicted * 1e3:13.1f} {ratio:6.2f}", flush=True)
            if abs(ratio - 1) > arguments.tolerance:
                far.append(f"{name} at {megabits} Mbit/s")
    if far:
        print(f"further apart than {arguments.tolerance:.0%}: {', '.join(far)}")
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
