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
import statistics
import subprocess
import sys
import tempfile

from namespaces import Network, missing, run

PEERS = 4
# What of a rate is left for payloads: 1448 bytes of each frame of 1514 (Ethernet, IP and TCP headers with timestamps).
GOODPUT = 1448 / 1514

# Steps are paced, so that two cores are enough for four peers.
RUN = """\
algorithm: {algorithm}
topology: {topology}
{more}
trainer: {{task: quadratic, dimension: 500000, tensors: 10, steps: {steps}, pace: 50 ms, batch_size: 1}}
transport: {{kind: ucx, tls: "tcp,self", interface: eth0}}
report: {{save_models: false, evaluate_every_epochs: 0}}
"""
RUNS = {
    "d-psgd on a ring": ("d-psgd", "{family: ring, peers: 4}", "", False),
    "all-reduce": ("all-reduce", "{family: complete, peers: 4}", "", False),
    "choco-sgd, qsgd 4 bits, on a ring": ("choco-sgd", "{family: ring, peers: 4}", "compression: {codec: qsgd, bits: 4}", False),
    "d-psgd on a ring, layerwise": ("d-psgd", "{family: ring, peers: 4}", "overlap: layerwise\nbucket_mib: 0.2", False),
    "all-reduce, layerwise": ("all-reduce", "{family: complete, peers: 4}", "overlap: layerwise\nbucket_mib: 0.2", False),
    "parameter server": ("parameter-server", "{family: star, peers: 4}", "", True),
}


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
    if reason := missing():
        print(f"skipped: {reason}")
        return 77

    far = []
    print(f"{'run':36} {'Mbit/s':>7} {'measured ms':>12} {'(least..most)':>16} {'predicted ms':>13} {'ratio':>6}")
    for megabits in arguments.rates:
        for name, (algorithm, topology, more, both_ways) in RUNS.items():
            network = Network(PEERS, megabits, both_ways or arguments.both_ways)
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
