#!/usr/bin/python3
"""Installs the build into an empty folder and uses what is there as a program of somebody else would.

    install_test.py BUILD_DIR [COMPILER...]

Exits with 77 and the reason where there is nothing to test.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MESON = ['/usr/bin/python3', '/usr/bin/meson'] if Path('/usr/bin/meson').exists() else ['meson']
TIMEOUT_S = 120


def run(command, **more):
    print('$', ' '.join(str(word) for word in command), flush=True)
    ended = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=TIMEOUT_S, **more)
    if ended.returncode != 0:
        sys.exit(f'{ended.stdout}{ended.stderr}exit status {ended.returncode}')
    return ended.stdout


def skip(reason):
    print(reason)
    sys.exit(77)


def option(build, name):
    for entry in json.loads((build / 'meson-info' / 'intro-buildoptions.json').read_text()):
        if entry['name'] == name:
            return entry['value']
    sys.exit(f'the build has no option {name}')


def one(tree, pattern):
    found = sorted(tree.rglob(pattern))
    if len(found) != 1:
        sys.exit(f'expected one {pattern} under the installed tree, found {[str(path) for path in found]}')
    return found[0]


def check_headers(include):
    """Every header that an installed one includes by our folders is installed as well."""
    headers = sorted(include.rglob('*.h'))
    if not headers:
        sys.exit(f'no header under {include}')
    ours = {path.name for path in include.iterdir() if path.is_dir()}
    missing = set()
    for header in headers:
        for name in re.findall(r'^\s*#\s*include\s*"([^"]+)"', header.read_text(), re.M):
            if not (include / name).exists():
                missing.add(f'{header.relative_to(include)} includes {name}')
    if missing:
        sys.exit('headers that were not installed:\n  ' + '\n  '.join(sorted(missing)))
    print(f'{len(headers)} headers in {sorted(ours)}')


def main():
    build = Path(sys.argv[1]).resolve()
    compiler = sys.argv[2:]
    installed = json.loads((build / 'meson-info' / 'intro-installed.json').read_text())
    if not any(path.endswith('/gossamer.pc') for path in installed.values()):
        skip('this build installs no gossamer.pc')
    if option(build, 'b_sanitize') != 'none':
        skip('a sanitized library is not for others to link')

    with tempfile.TemporaryDirectory(prefix='gossamer-install-') as folder:
        tree = Path(folder)
        run([*MESON, 'install', '-C', build, '--no-rebuild', '--quiet', '--destdir', tree])
        prefix = tree / option(build, 'prefix').lstrip('/')

        # The file names the prefix it was configured for; the tree lies elsewhere until a package manager moves it.
        pc = one(tree, 'gossamer.pc')
        pc.write_text(re.sub(r'^prefix=.*$', f'prefix={prefix}', pc.read_text(), flags=re.M))
        search = os.pathsep.join(filter(None, [str(pc.parent), os.environ.get('PKG_CONFIG_PATH')]))
        env = {**os.environ, 'PKG_CONFIG_PATH': search}
        flags = run(['pkg-config', '--cflags', '--libs', 'gossamer'], env=env).split()
        include = Path(run(['pkg-config', '--variable=includedir', 'gossamer'], env=env).strip())
        roots = [Path(flag[2:]) for flag in flags if flag.startswith('-I') and flag[2:].startswith(str(tree))]
        check_headers(roots[0] if roots else include)

        consumer = tree / 'consumer'
        run([*compiler, '-std=c++20', HERE / 'consumer.cc', '-o', consumer, *flags])
        said = run([consumer])
        if said != 'ring of 8: every peer has 2 neighbours\n':
            sys.exit(f'the consumer said: {said!r}')

        run([one(prefix / 'bin', 'gossamer'), '--help'])
    print('the installed tree is usable')


if __name__ == '__main__':
    main()
