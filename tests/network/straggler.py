#!/usr/bin/python3
"""What one slow peer does to seven others, really and as the simulator predicts it.

Eight processes on this machine, steps paced by sleep so that cores are not the limit, one peer ten times slower: under
AD-PSGD the others keep their pace, under bulk D-PSGD they fall to the straggler's.  Prints both paces and fails where
prediction and measurement are further apart than the tolerance, or AD-PSGD's others lose more than 5 %.

    straggler.py GOSSAMER DIGITS.yaml [--tolerance 0.10]
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

PACE_S = 0.05
SLOW = 3
FACTOR = 10


def real(gossamer, words, folder, slow):
    out = os.path.join(folder, f"out-{slow}")
    slowness = ["--set", f"trainer.slow={{peer: {SLOW}, factor: {FACTOR}}}"] if slow else []
    subprocess.run([gossamer, "run", *words, *slowness, "--set", f"trainer.pace={PACE_S * 1000:.0f} ms", "--quiet", "--out", out],
                   check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(out, "summary.json")) as file:
        return [peer["steps"] / peer["wall_s"] for peer in json.load(file)["peers"]]


def simulated(gossamer, words, folder, slow):
    network = os.path.join(folder, "network.yaml")
    with open(network, "w") as text:
        text.write(f"latency: 50 us\ncompute: {PACE_S * 1000:.0f} ms\n")
        if slow:
            text.write(f"stragglers: [{{peer: {SLOW}, factor: {FACTOR}}}]\n")
    answer = subprocess.run([gossamer, "simulate", *words, "--network", network, "--json"], check=True, capture_output=True, text=True)
    return [peer["steps"] / peer["finished_s"] for peer in json.loads(answer.stdout)["per_peer"]]


def others(paces):
    paces = [pace for rank, pace in enumerate(paces) if rank != SLOW]
    return sum(paces) / len(paces)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gossamer")
    parser.add_argument("digits")
    parser.add_argument("--tolerance", type=float, default=0.10)
    parser.add_argument("--steps", type=int, default=80)
    arguments = parser.parse_args()
    wrong = []
    print(f"{'steps/s of the seven others':28} {'alike':>8} {'one slow':>9} {'kept':>6} {'predicted':>10} {'ratio':>6}")
    for algorithm in ("ad-psgd", "d-psgd"):
        synchrony = "async" if algorithm == "ad-psgd" else "bulk"
        words = [arguments.digits, "--set", f"algorithm={algorithm}", "--set", f"synchrony={{mode: {synchrony}}}", "--set",
                 f"trainer.steps={arguments.steps}", "--set", "report.evaluate_every_epochs=0"]
        with tempfile.TemporaryDirectory(prefix="gossamer-straggler-") as folder:
            alike, slow = others(real(arguments.gossamer, words, folder, False)), others(real(arguments.gossamer, words, folder, True))
            predicted = others(simulated(arguments.gossamer, words, folder, True))
        print(f"{algorithm:28} {alike:8.2f} {slow:9.2f} {slow / alike:6.2f} {predicted:10.2f} {predicted / slow:6.2f}", flush=True)
        if abs(predicted / slow - 1) > arguments.tolerance:
            wrong.append(f"{algorithm}: the prediction is off by more than {arguments.tolerance:.0%}")
        if algorithm == "ad-psgd" and slow < 0.95 * alike:
            wrong.append("ad-psgd: the others lost more than 5 % of their pace")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
