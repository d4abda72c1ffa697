"""Runs in the virtual machine, started by soft_roce.py: makes an RDMA device of a pair of Ethernet interfaces, and tries the
transports over it.

Each case that has ended is a line of /run/vm/cases.jsonl, what it printed is beside it, and no case outlives its deadline.
"""
import json
import os
import signal
import subprocess
import sys
import time

OUT = "/run/vm"
ADDRESS = "10.66.0.1"
# What Soft-RoCE needs to be told; docs/transports.md says why.
os.environ.update({"UCX_UD_VERBS_ETH_DGID_CHECK": "n", "UCX_RC_RETRY_COUNT": "6", "FI_UNIVERSE_SIZE": "16"})
PEERS = 4
WIRES = {  # for a run file, and for fabric_process
    "tcp": ('{kind: ucx, tls: "tcp,self", interface: lo}', ("ucx", "tcp,self", "lo")),
    "rc": ('{kind: ucx, tls: "rc_v,self", interface: "rxe0:1"}', ("ucx", "rc_v,self", "rxe0:1")),
    "verbs": ('{kind: libfabric, provider: "verbs;ofi_rxm"}', ("libfabric", "verbs;ofi_rxm", "")),
}
OVER_RDMA = ("rc", "verbs")
DIGITS = {  # the run file, and what is put over it
    "d-psgd": ("examples/digits/d-psgd.yaml", []),
    "choco-sgd": ("examples/digits/choco-sgd.yaml", ["topology={family: ring, peers: 4}"]),
}
# An endless one, for a peer that is killed.
ENDLESS = """\
algorithm: d-psgd
topology: {{family: ring, peers: {peers}}}
trainer: {{task: quadratic, dimension: 200000, steps: 1000000, pace: 50 ms, batch_size: 1}}
deadlines: {{heartbeat: 1 s, silence: {silence} s}}
transport: {transport}
report: {{save_models: false, evaluate_every_epochs: 0}}
"""

orders = {}


class Failed(Exception):
    pass


def minutes(number):
    """Where nothing is emulated."""
    return 60 * number * orders["slowness"]


def record(suite, name, result, seconds, text=""):
    with open(f"{OUT}/cases.jsonl", "a") as file:
        file.write(json.dumps({"suite": suite, "name": name, "result": result, "seconds": round(seconds, 1), "text": text[-6000:]}) + "\n")
    why = f": {text.strip().splitlines()[0][:200]}" if text.strip() and result == "failed" else ""
    print(f"{result}: {suite}, {name} ({seconds:.0f} s){why}")


def case(suite, name, what, *arguments):
    start = time.monotonic()
    try:
        note = what(*arguments)
    except Failed as failure:
        record(suite, name, "failed", time.monotonic() - start, str(failure))
    except Exception as error:  # a mistake of this file is a failure like others
        record(suite, name, "failed", time.monotonic() - start, f"{type(error).__name__}: {error}")
    else:
        record(suite, name, "passed", time.monotonic() - start)
        if note:
            print(f"  {note}")
        return True
    return False


class Group:
    """Processes that are gone when this is; each prints into a file of its own."""

    def __enter__(self):
        self.processes = []
        return self

    def start(self, log, *words):
        with open(f"{OUT}/{log}.log", "ab") as file:
            file.write(("$ " + " ".join(words) + "\n").encode())
            file.flush()
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        self.processes.append(process)
        return process

    def __exit__(self, *_):
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()


def said(log):
    with open(f"{OUT}/{log}.log", errors="replace") as file:
        return file.read()


def must(*words, log="setup", deadline=None):
    """What it printed.  Raises Failed when it fails or is not over in time."""
    deadline = deadline or minutes(1)
    with Group() as group:
        process = group.start(log, *words)
        try:
            status = process.wait(timeout=deadline)
        except subprocess.TimeoutExpired:
            raise Failed(f"`{' '.join(words)}` is not over after {deadline} s\n{said(log)[-3000:]}") from None
    if status != 0:
        raise Failed(f"`{' '.join(words)}` ended with {status}\n{said(log)[-3000:]}")
    return said(log)


def packets():
    with open("/sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts") as file:
        return int(file.read())


# --- The parts.


def device():
    for module in ("crc32_generic", "veth", "ib_uverbs", "rdma_ucm", "rdma_rxe"):
        must("modprobe", "-d", orders["kernel_tree"], module)
    must("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
    must("ip", "addr", "add", f"{ADDRESS}/24", "dev", "veth0")
    for name in ("veth0", "veth1"):
        must("ip", "link", "set", name, "mtu", "4200", "up")
    must("rdma", "link", "add", "rxe0", "type", "rxe", "netdev", "veth0")
    if "state ACTIVE" not in must("rdma", "link"):
        raise Failed("the device does not come up")


def pair(name, server, client):
    """A program of others that talks to itself over the device: what fails here is not ours."""
    with Group() as group:
        group.start(name, *server)
        time.sleep(orders["slowness"])
        must(*client, log=name)


def versions():
    for words in (["uname", "-r"], ["ibv_devinfo"], ["ucx_info", "-v"], ["ucx_info", "-d"], ["fi_info", "--version"],
                  ["fi_info", "-p", "verbs;ofi_rxm"]):
        must(*words, log="versions")


def suite(binary):
    """A GoogleTest binary; what its cases came to is in the file that it leaves."""
    name = os.path.basename(binary)
    start = time.monotonic()
    with Group() as group:
        process = group.start(name, binary, f"--gtest_filter={orders['filter']}", f"--gtest_output=xml:{OUT}/{name}.xml")
        try:
            process.wait(timeout=minutes(4))
        except subprocess.TimeoutExpired:
            pass
    if not os.path.exists(f"{OUT}/{name}.xml"):
        how = f"it died with status {process.returncode}"
        record(name, "all of it", "failed", time.monotonic() - start, f"{how}, and left no results\n{said(name)[-4000:]}")
    else:
        print(f"over: {name} ({time.monotonic() - start:.0f} s)")


def hammer(wire):
    import fabrics
    before = packets()
    verdict = fabrics.pound([fabrics.APART, fabrics.APART], orders["fabric_process"], *WIRES[wire][1])
    if not verdict.startswith("ok "):
        raise Failed(verdict)
    size = int(verdict.split()[2])
    if (packets() - before) * 4096 < size:
        raise Failed(f"{size} bytes did not go over the device: it sent {packets() - before} packets")
    return verdict


def peers(group, log, *words):
    """All peers of a run, each as if on a machine of its own."""
    return [group.start(f"{log}-{rank}", "unshare", "--ipc", orders["gossamer"], "peer", *words, "--verbose", "--rank", str(rank), "--peers",
                        str(PEERS), "--rendezvous", "127.0.0.1:29412") for rank in range(PEERS)]


def train(method, wire, results):
    file, more = DIGITS[method]
    sets = [f"transport={WIRES[wire][0]}", f"trainer.epochs={orders['epochs']}", "deadlines.round=120 s", "deadlines.silence=60 s", *more]
    out = f"/tmp/{method}-{wire}"
    before = packets()
    deadline = time.monotonic() + minutes(4)
    with Group() as group:
        all_peers = peers(group, f"{method}-{wire}", file, "--out", out, *(word for one in sets for word in ("--set", one)))
        try:
            codes = [process.wait(timeout=max(1, deadline - time.monotonic())) for process in all_peers]
        except subprocess.TimeoutExpired:
            raise Failed(f"not over after {minutes(4)} s\n{said(f'{method}-{wire}-0')[-3000:]}") from None
    if any(codes):
        guilty = next(rank for rank in range(PEERS) if codes[rank])
        raise Failed(f"the peers ended with {codes}; peer {guilty} said\n{said(f'{method}-{wire}-{guilty}')[-3000:]}")
    with open(f"{out}/summary.json") as summary:
        got = json.load(summary)
    with open(f"{out}/model.safetensors", "rb") as model:
        bits = model.read()
    sent = got["bytes_sent_per_peer"] * PEERS
    if wire in OVER_RDMA and (packets() - before) * 4096 < sent:
        raise Failed(f"{sent:.0f} bytes did not go over the device: it sent {packets() - before} packets")
    mean = got["mean_model"]
    results[wire] = (mean["loss"], mean["accuracy"], bits)
    if wire != "tcp" and "tcp" in results and results[wire] != results["tcp"]:
        raise Failed(f"loss and accuracy are {results[wire][:2]}, over tcp {results['tcp'][:2]}; a bulk run has the same bits over every wire")
    return f"loss {mean['loss']:.6f}, accuracy {mean['accuracy']:.4f}, {got['wall_s']:.1f} s, {sent / 1e6:.1f} MB sent by all"


def kill_one(wire):
    silence = 5 * orders["slowness"]
    log, victim = f"killed-{wire}", 2
    with open(f"/tmp/{log}.yaml", "w") as file:
        file.write(ENDLESS.format(peers=PEERS, silence=silence, transport=WIRES[wire][0]))
    deadline = time.monotonic() + minutes(1)
    with Group() as group:
        all_peers = peers(group, log, f"/tmp/{log}.yaml", "--out", f"/tmp/{log}")
        while "all peers are here" not in said(f"{log}-0"):
            if time.monotonic() > deadline or any(process.poll() is not None for process in all_peers):
                raise Failed(f"the run does not get going\n{said(f'{log}-0')[-3000:]}")
            time.sleep(0.2)
        time.sleep(3 * orders["slowness"])  # they train
        start = time.monotonic()
        os.killpg(all_peers[victim].pid, signal.SIGKILL)
        for rank, process in enumerate(all_peers):
            if rank == victim:
                continue
            try:
                code = process.wait(timeout=max(1, 2 * silence + 10 * orders["slowness"] - (time.monotonic() - start)))
            except subprocess.TimeoutExpired:
                raise Failed(f"peer {rank} goes on {time.monotonic() - start:.0f} s after peer {victim} was killed\n"
                             f"{said(f'{log}-{rank}')[-3000:]}") from None
            if code != 5 or f"rank {victim}" not in said(f"{log}-{rank}"):
                raise Failed(f"peer {rank} ended with {code}, not as after a lost peer\n{said(f'{log}-{rank}')[-3000:]}")
    return f"the others had ended {time.monotonic() - start:.1f} s later"


def bench():
    log = "bench"
    text = must(orders["gossamer"], "bench", "transport", "--wires", "ucx-rc,libfabric-verbs", "--sizes", "65536,4194304", "--latency-sizes", "8",
                "--links", "2", "--repeat", "1", "--round-trips", "100", "--volume", "8388608", "--json", log=log, deadline=minutes(5))
    report = json.loads(text[text.index("\n{") + 1:])
    measured = sorted((row["wire"], row["what"], row["size"], row["links"]) for row in report["rows"])
    wanted = sorted((wire, *row) for wire in ("ucx-rc", "libfabric-verbs")
                    for row in [("latency", 8, 1), ("wake", 0, 1), ("idle", 0, 1), ("idle", 0, 2)] +
                    [("bandwidth", size, links) for size in (65536, 4194304) for links in (1, 2)])
    if measured != wanted or report["not_measured"]:
        raise Failed(f"not all was measured\n{text[-3000:]}")
    for row in report["rows"]:
        others = ", ".join(f"{name} {other['median']:.3g}" for name, other in row.get("others", {}).items())
        print(f"  {row['wire']} {row['what']} {row['size']} B, {row['links']} links: {row['median']:.3g} {row['unit']}; {others}")


def main():
    with open(f"{OUT}/orders.json") as file:
        orders.update(json.load(file))
    os.chdir(orders["root"])
    os.environ["PATIENCE"] = str(orders["slowness"])
    sys.path.insert(0, os.path.join(orders["root"], "tests/network"))
    wanted = orders["parts"].__contains__
    if not case("device", "a Soft-RoCE device comes up", device):
        return 1
    if wanted("device"):
        case("device", "says what it is", versions)
        case("device", "ibv_rc_pingpong", pair, "ibv_rc_pingpong", ["ibv_rc_pingpong", "-d", "rxe0", "-g", "1", "-n", "50"],
             ["ibv_rc_pingpong", "-d", "rxe0", "-g", "1", "-n", "50", ADDRESS])
    for wire in OVER_RDMA if wanted("hammer") else ():
        case("puts of all sizes between two processes", wire, hammer, wire)
    for method in DIGITS if wanted("training") else ():
        results = {}
        for wire in WIRES:
            case(f"{method} of {PEERS} peers", wire, train, method, wire, results)
    for wire in OVER_RDMA if wanted("killed") else ():
        case("a peer is killed", wire, kill_one, wire)
    for binary in orders["suites"] if wanted("conformance") else ():
        suite(binary)
    if wanted("bench"):
        case("gossamer bench transport", "ucx-rc and libfabric-verbs", bench)
    try:
        must("dmesg", log="dmesg")
    except Failed as failure:
        print(failure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
