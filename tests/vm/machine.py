"""A small virtual machine that has a kernel with RDMA and sees the files of this machine, read-only.

The kernel comes from the distribution's package, which is fetched and unpacked but not installed.  The guest's root is the root of this
machine over 9p, with memory laid over it for what is written; so programs that were built here run there, at the same paths.
What is to be kept goes to `/run/vm`, a folder of this machine.  Nothing is mounted here, and no rights but those to
read files are needed.
"""
import gzip
import json
import lzma
import os
import queue
import shutil
import signal
import stat
import subprocess
import threading
import time

# Until the guest can read files; the rest it loads itself.
MODULES = ["virtio_pci", "virtio_rng", "9p", "9pnet_virtio", "overlay"]
BOOTED = "vm: booted"
ENDED = "vm: ended with "

INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mkdir -p /proc /sys /dev /lower /upper /root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module || echo "vm: module $module does not load"; done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=262144,cache=loose host /lower
mount -t tmpfs -o mode=755 upper /upper
mkdir -p /upper/files /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /root
mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount -t devtmpfs dev /root/dev
mkdir -p /root/dev/shm /root/dev/pts
mount -t tmpfs -o mode=1777 shm /root/dev/shm
mount -t tmpfs -o mode=1777 tmp /root/run
mkdir -p /root/run/vm
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=none out /root/run/vm
ip link set lo up
ulimit -l unlimited
echo "BOOTED after $(cut -d' ' -f1 /proc/uptime) s, $(uname -r)"
chroot /root /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 /usr/bin/python3 -u -B "$(cat /root/run/vm/start)"
echo "ENDED$?"
sync
poweroff -f
""".replace("BOOTED", BOOTED).replace("ENDED", ENDED)


class Missing(Exception):
    """This machine cannot run a virtual one; says why, and what helps."""


def output(*words, **options):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, timeout=600, **options).stdout


class Kernel:
    """The distribution's, unpacked under `folder`, where it stays for the next time."""

    def __init__(self, folder):
        if shutil.which("dpkg-deb") is None or shutil.which("apt-get") is None:
            raise Missing("the kernel is taken from Debian's packages, and there is no apt-get here")
        if output("dpkg", "--print-architecture").strip() != "amd64":
            raise Missing("only amd64 has been tried")
        self.tree = None
        for old in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            if os.path.exists(os.path.join(folder, old, "complete")):
                self.tree = os.path.join(folder, old)
        if self.tree is None:
            self.tree = self.fetch(folder)
        self.release = os.listdir(os.path.join(self.tree, "lib/modules"))[0]
        self.image = os.path.join(self.tree, "boot", f"vmlinuz-{self.release}")

    @staticmethod
    def fetch(folder):
        try:
            depends = output("apt-cache", "depends", "linux-image-amd64")
            package = next(line.split()[-1] for line in depends.splitlines() if "Depends: linux-image-" in line)
            tree = os.path.join(folder, package)
            shutil.rmtree(tree, ignore_errors=True)
            os.makedirs(tree)
            output("apt-get", "-q", "download", package, cwd=tree, stderr=subprocess.STDOUT)
            archive = next(name for name in os.listdir(tree) if name.endswith(".deb"))
            output("dpkg-deb", "-x", archive, ".", cwd=tree)
            os.remove(os.path.join(tree, archive))
            release = os.listdir(os.path.join(tree, "lib/modules"))[0]
            output("depmod", "-b", tree, release, env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired, StopIteration, FileNotFoundError) as error:
            said = getattr(error, "stdout", "") or ""
            raise Missing(f"the package linux-image-amd64 cannot be fetched ({error}) {said.strip()[-300:]}; "
                          "`apt-get update` and a network help") from error
        open(os.path.join(tree, "complete"), "w").close()
        return tree

    def closure(self, wanted):
        """Paths of these modules and of what they need, in the order to load them; those that are built in are left out."""
        base = os.path.join(self.tree, "lib/modules", self.release)
        with open(os.path.join(base, "modules.dep")) as file:
            needs = {line.split(":")[0]: line.split(":")[1].split() for line in file if ":" in line}
        by_name = {os.path.basename(path).split(".ko")[0].replace("-", "_"): path for path in needs}
        order = []
        for name in wanted:
            path = by_name.get(name.replace("-", "_"))
            for one in [*reversed(needs[path]), path] if path else []:
                if one not in order:
                    order.append(one)
        return [os.path.join(base, path) for path in order]


def archive(entries):
    """A cpio archive as kernels read it, of (path, mode, bytes)."""
    parts = []
    for number, (path, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        name = path.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
        parts += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]
    return b"".join(parts)


def initramfs(kernel):
    busybox = shutil.which("busybox")
    if busybox is None:
        raise Missing("there is no busybox (Debian: busybox-static)")
    with open(busybox, "rb") as file:
        entries = [("bin", stat.S_IFDIR | 0o755, b""), ("modules", stat.S_IFDIR | 0o755, b""), ("init", stat.S_IFREG | 0o755, INIT.encode()),
                   ("bin/busybox", stat.S_IFREG | 0o755, file.read())]
    if subprocess.run(["ldd", busybox], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
        raise Missing("busybox is not linked statically (Debian: busybox-static)")
    names = []
    for path in kernel.closure(MODULES):
        with open(path, "rb") as file:
            data = file.read()
        if path.endswith(".xz"):
            data = lzma.decompress(data)
        names.append(os.path.basename(path).removesuffix(".xz"))
        entries.append((f"modules/{names[-1]}", stat.S_IFREG | 0o644, data))
    entries.append(("modules/order", stat.S_IFREG | 0o644, "\n".join(names).encode()))
    return gzip.compress(archive(entries), 1)


class Machine:
    """One that runs a Python program, and is off when that ends.  `out` is the guest's /run/vm.  It dies with this process."""

    def __init__(self, kernel, out, cpus=2, memory_mb=3072):
        self.program = shutil.which("qemu-system-x86_64")
        if self.program is None:
            raise Missing("there is no qemu-system-x86_64 (Debian: qemu-system-x86)")
        self.out = out
        initrd = os.path.join(out, "initramfs.gz")
        with open(initrd, "wb") as file:
            file.write(initramfs(kernel))
        share = "local,security_model=none,multidevs=remap"
        self.words = ["setpriv", "--pdeathsig", "KILL", self.program,
                      "-M", "q35", "-smp", str(cpus), "-m", str(memory_mb), "-nodefaults", "-no-user-config", "-display", "none",
                      "-serial", "stdio", "-no-reboot", "-nic", "none", "-kernel", kernel.image, "-initrd", initrd,
                      # Emulated on a busy machine, its timers look broken to a kernel that checks them.
                      "-append", "console=ttyS0 rdinit=/init panic=-1 quiet mitigations=off tsc=nowatchdog no_timer_check",
                      "-virtfs", f"{share},readonly=on,path=/,mount_tag=host", "-virtfs", f"{share},path={out},mount_tag=out",
                      "-device", "virtio-rng-pci"]
        self.process = None
        self.lines = queue.Queue()

    def boot(self, orders, start, end):
        """With the processor's help where there is any, else by emulation; `orders(accelerator)` is what the program `start` finds in
        orders.json.  Says how it went, or raises Missing."""
        with open(os.path.join(self.out, "start"), "w") as file:
            file.write(start)
        # A /dev/kvm without the processor's extension behind it (KVM in software) takes kernels made for it only.
        with open("/proc/cpuinfo") as file:
            extended = any(line.startswith("flags") and {"vmx", "svm"} & set(line.split()) for line in file)
        ways = [("kvm", "host", 60)] if extended and os.access("/dev/kvm", os.R_OK | os.W_OK) else []
        tried = []
        for accelerator, processor, patience in [*ways, ("tcg", "max", 900)]:
            with open(os.path.join(self.out, "orders.json"), "w") as file:
                json.dump(orders(accelerator), file, indent=1)
            self.launch(["-accel", accelerator, "-cpu", processor])
            deadline, said = min(end, time.monotonic() + patience), ""
            while (line := self.line(deadline)) is not None:
                if line.startswith(BOOTED):
                    return f"{line}, {accelerator}"
                said = line
            self.stop()
            tried.append(f"{accelerator}: {said[-200:] or 'it says nothing'}")
        raise Missing("no virtual machine starts here: " + "; ".join(tried))

    def launch(self, words):
        self.lines = queue.Queue()
        self.process = subprocess.Popen([*self.words, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        start_new_session=True)
        threading.Thread(target=self.listen, args=(self.process, self.lines), daemon=True).start()

    def listen(self, process, lines):
        with open(os.path.join(self.out, "console.log"), "ab") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                lines.put(line.decode(errors="replace").replace("\x1bc", "").strip())
        lines.put(None)

    def line(self, deadline):
        """What the machine says next; None when it is off, or says nothing until then."""
        try:
            return self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None

    def stop(self):
        if self.process is None:
            return
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
