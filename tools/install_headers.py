#!/usr/bin/env python3
"""Run by `meson install`: copies every header of the library to INCLUDEDIR/gossamer, in the folders of the sources.

    install_headers.py INCLUDEDIR FOLDER...
"""

import os
import shutil
import sys
from pathlib import Path

source = Path(os.environ['MESON_SOURCE_ROOT'])
target = Path(os.environ['MESON_INSTALL_DESTDIR_PREFIX']) / sys.argv[1] / 'gossamer'
for folder in sys.argv[2:]:
    for header in sorted((source / folder).rglob('*.h')):
        to = target / header.relative_to(source)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(header, to)
        to.chmod(0o644)
