#!/usr/bin/env python3
"""Run by `meson install`: copies the headers of the library to INCLUDEDIR/gossamer, in the folders of the sources.

    install_headers.py INCLUDEDIR FOLDER...

A header that includes generated code (protobuf's), itself or through another, is internal and stays behind.
"""

import os
import re
import shutil
import sys
from pathlib import Path

source = Path(os.environ['MESON_SOURCE_ROOT'])
target = Path(os.environ['MESON_INSTALL_DESTDIR_PREFIX']) / sys.argv[1] / 'gossamer'

includes = {}
for folder in sys.argv[2:]:
    for header in (source / folder).rglob('*.h'):
        named = re.findall(r'^\s*#\s*include\s*"([^"]+)"', header.read_text(), re.M)
        includes[header.relative_to(source).as_posix()] = named

kept = set(includes)
while True:
    internal = {header for header in kept if not kept.issuperset(includes[header])}
    if not internal:
        break
    kept -= internal

for header in sorted(kept):
    to = target / header
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / header, to)
    to.chmod(0o644)
