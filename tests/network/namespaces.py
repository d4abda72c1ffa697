"""Networks of known speed on one machine: namespaces joined by a bridge, each one's card shaped by `tc`."""
import os
import shutil
import subprocess


def missing():
    """Why this machine has none; None when it has."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("tc"):
        return "needs root, ip and tc (Debian: iproute2)"
    probe = subprocess.run(["ip", "netns", "add", "gsm-probe"], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", "gsm-probe"], stderr=subprocess.DEVNULL)
    return f"this machine allows no network namespaces: {probe.stderr.strip()}" if probe.returncode != 0 else None


def run(*words, **options):
    return subprocess.run(words, check=True, stdout=subprocess.DEVNULL, **options)


class Network:
    """Namespaces gsm-0, gsm-1, ..., each with eth0 at 10.77.0.1, 10.77.0.2, ...; `prefix` instead of gsm where several exist at
    a time."""

    def __init__(self, peers, megabits, both_ways=False, prefix="gsm"):
        self.names = [f"{prefix}-{i}" for i in range(peers)]
        self.hub = f"{prefix}-hub"
        self.close()
        run("ip", "netns", "add", self.hub)
        run("ip", "-n", self.hub, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self.hub, "link", "set", "br0", "up")
        for i, name in enumerate(self.names):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", f"port{i}", "netns", self.hub)
            run("ip", "-n", self.hub, "link", "set", f"port{i}", "master", "br0", "up")
            run("ip", "-n", name, "addr", "add", f"10.77.0.{i + 1}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            # A burst is what passes at once after a pause: about 2.5 ms' worth.
            for namespace, device in ((name, "eth0"), (self.hub, f"port{i}"))[: 2 if both_ways else 1]:
                run("tc", "-n", namespace, "qdisc", "add", "dev", device, "root", "tbf", "rate", f"{megabits}mbit",
                    "burst", f"{max(32, megabits * 32 // 100)}kb", "latency", "200ms")

    def cut(self, peer):
        run("ip", "-n", self.hub, "link", "set", f"port{peer}", "down")

    def close(self):
        for name in [*self.names, self.hub]:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)
