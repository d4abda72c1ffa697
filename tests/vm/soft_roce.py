#!/usr/bin/python3
"""The transports over real verbs on a machine without an RDMA device: Soft-RoCE in a small virtual machine.

    soft_roce.py GOSSAMER FABRIC_PROCESS SUITE... [--only PART[,PART]] [--filter PATTERN] [--out DIR] [--deadline SECONDS] [--slowness N]

boots the distribution's kernel under QEMU, with the files of this machine, makes an RDMA device (rxe) of a pair of Ethernet
interfaces, and there, over UCX's rc and libfabric's verbs:

    hammer       two processes that share no memory exchange puts of all sizes, every byte checked
    training     four peers train on digits; loss, accuracy and model are those of the same run over TCP, to the bit
    killed       one of four peers is killed; the others notice and say so
    conformance  the cases of each SUITE (GoogleTest) that have an RDMA device in their name
    bench        gossamer bench transport, in short
    device       what the device is, and that others' programs work over it

What it prints is kept under --out (default build/vm/out), the kernel under build/vm.  The last line is `N passed, N failed,
N skipped`; the exit status is 0 only where nothing failed.  Where no machine can be started all is skipped, with the
remedy.  Installs what is missing (tools/setup vm).  With --gtest_output=xml:FILE the cases go there, too.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
import xml.etree.ElementTree as ElementTree

from machine import ENDED, Kernel, Machine, Missing

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PARTS = ["device", "hammer", "training", "killed", "conformance", "bench"]
EMULATED = 8  # so many times as long everything takes there
MUST_BE_LEFT = 120  # seconds, for a start to make sense


def setup():
    done = subprocess.run([os.path.join(ROOT, "tools/setup"), "vm"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise Missing(f"what a virtual machine needs is not installed: {' '.join(done.stdout.split())[-400:]}")


def of_suite(path):
    """The cases of what a GoogleTest binary left."""
    name = os.path.basename(path).removesuffix(".xml")
    for one in ElementTree.parse(path).getroot().iter("testcase"):
        if one.get("status") == "notrun":
            continue
        text = "\n".join(failure.get("message") or failure.text or "" for failure in one.iter("failure"))
        skipped = one.find("skipped")
        result = "failed" if text else "passed"
        if skipped is not None and not text:
            # There is a device, so a case that misses it has not looked.  What a backend cannot do anywhere is another matter.
            why = skipped.get("message") or ""
            result, text = ("skipped", why) if "this backend" in why else ("failed", f"skipped in spite of the device: {why}")
        yield {"suite": f"{name}: {one.get('classname')}", "name": one.get("name"), "result": result,
               "seconds": float(one.get("time") or 0), "text": text}


def boot_and_watch(options, out, report):
    end = time.monotonic() + options.deadline
    setup()
    kernel = Kernel(os.path.join(ROOT, "build/vm/kernel"))
    orders = {"root": ROOT, "kernel_tree": kernel.tree, "parts": options.only, "filter": options.filter, "epochs": options.epochs,
              "gossamer": os.path.abspath(options.gossamer), "fabric_process": os.path.abspath(options.fabric_process),
              "suites": [os.path.abspath(suite) for suite in options.suites]}
    machine = Machine(kernel, out)
    try:
        report(machine.boot(lambda accelerator: orders | {"slowness": options.slowness or (EMULATED if accelerator == "tcg" else 1)},
                            os.path.join(HERE, "guest.py"), end - MUST_BE_LEFT))
        while (line := machine.line(end)) is not None:
            if line.startswith(ENDED):
                return None if line == f"{ENDED}0" else f"what ran in it ended with {line.removeprefix(ENDED)}"
            report(line)
        return "it went off too early" if time.monotonic() < end else f"it was not done after {options.deadline} s"
    finally:
        machine.stop()


def write_xml(path, cases):
    root = ElementTree.Element("testsuites")
    for name in dict.fromkeys(one["suite"] for one in cases):
        suite = ElementTree.SubElement(root, "testsuite", name=name)
        for one in cases:
            if one["suite"] != name:
                continue
            element = ElementTree.SubElement(suite, "testcase", classname=name, name=one["name"], time=str(one["seconds"]), status="run",
                                             result="skipped" if one["result"] == "skipped" else "completed")
            text = "".join(letter for letter in one["text"] if letter.isprintable() or letter in "\n\t")
            if one["result"] != "passed":
                ElementTree.SubElement(element, "failure" if one["result"] == "failed" else "skipped", message=text)
    ElementTree.ElementTree(root).write(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gossamer")
    parser.add_argument("fabric_process")
    parser.add_argument("suites", nargs="*")
    parser.add_argument("--only", type=lambda text: text.split(","), default=PARTS, help="of " + ", ".join(PARTS))
    parser.add_argument("--filter", default="*verbs*:*/ucx_rc:*/ucx_ud:*/rc-*/FabricAtLength.*", help="of the suites' cases")
    parser.add_argument("--epochs", type=int, default=2, help="of the training")
    parser.add_argument("--out", default=os.path.join(ROOT, "build/vm/out"))
    parser.add_argument("--deadline", type=int, default=5400, help="for all of it, in seconds")
    parser.add_argument("--slowness", type=int, help=f"how many times as long everything may take; default {EMULATED} where the machine is emulated")
    parser.add_argument("--gtest_output", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if wrong := [part for part in options.only if part not in PARTS]:
        parser.error(f"there is no part {wrong[0]}; there are {', '.join(PARTS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("interrupted"))

    out = os.path.abspath(options.out)
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    start = time.monotonic()
    cases = []

    def report(line):
        print(f"{time.monotonic() - start:6.0f} s  {line}", flush=True)

    try:
        wrong = boot_and_watch(options, out, report)
        if wrong:
            cases.append({"suite": "the machine", "name": "does all of it", "result": "failed", "seconds": 0, "text": wrong})
    except Missing as missing:
        cases.append({"suite": "the machine", "name": "all of it", "result": "skipped", "seconds": 0, "text": str(missing)})
    except Exception:  # the count is owed whatever was wrong
        cases.append({"suite": "the machine", "name": "does all of it", "result": "failed", "seconds": 0, "text": traceback.format_exc()})
    if os.path.exists(f"{out}/cases.jsonl"):
        with open(f"{out}/cases.jsonl") as file:
            cases += [json.loads(line) for line in file if line.endswith("\n")]
    for name in sorted(os.listdir(out)):
        if name.endswith(".xml"):
            cases += of_suite(os.path.join(out, name))

    for one in cases:
        if one["result"] != "passed":
            print(f"\n{one['result']}: {one['suite']}, {one['name']}")
            for line in one["text"].splitlines()[-30:]:
                print(f"  | {line}")
    if options.gtest_output.startswith("xml:"):
        write_xml(options.gtest_output.removeprefix("xml:"), cases)
    count = [sum(one["result"] == result for one in cases) for result in ("passed", "failed", "skipped")]
    print(f"\nlogs: {out}\n{count[0]} passed, {count[1]} failed, {count[2]} skipped")
    return 1 if count[1] or not any(count) else 0


if __name__ == "__main__":
    sys.exit(main())
