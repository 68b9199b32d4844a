#!/usr/bin/env python3
"""Copies the listed files of a Debian root into a new tree, and nothing else: `select.py SOURCE DESTINATION LIST...`

A line of a list is a pattern of paths below the root (`*` does not cross a slash, `**` does), or `- PATTERN` for what an
earlier line took too many of; what follows two blanks says why. Libraries come along by themselves, by what the copied
programs name as needed. It is an error if a pattern matches nothing, if a library is missing, or if a copied file is
set-uid, a script, or a device: each would be a surprise in the image.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

LIBRARIES = ["usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/systemd"]
LOADER = "usr/lib64/ld-linux-x86-64.so.2"
MERGED = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}


def patterns(lists):
    """The lines of the lists, in order: (take, pattern)."""
    for name in lists:
        for line in Path(name).read_text().splitlines():
            line = line.split("#")[0].rstrip()
            if not line:
                continue
            take = not line.startswith("- ")
            yield take, re.split(r"\s{2,}", line.removeprefix("- "))[0].strip("/")


def expression(pattern):
    """A pattern as a regular expression of whole paths."""
    parts = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(parts.get(p, re.escape(p)) for p in re.split(r"(\*\*|\*|\?)", pattern)))


def everything(source):
    """All paths below the root that are not directories, sorted."""
    found = []
    for folder, names, files in os.walk(source):
        links = [name for name in names if os.path.islink(os.path.join(folder, name))]
        found += [os.path.relpath(os.path.join(folder, name), source) for name in files + links]
    return sorted(found)


def chosen(source, lists):
    """The paths that the lists take."""
    paths = everything(source)
    taken, unmatched = set(), []
    for take, pattern in patterns(lists):
        matches = [path for path in paths if expression(pattern).fullmatch(path)]
        if not matches:
            unmatched.append(pattern)
        taken = taken | set(matches) if take else taken - set(matches)
    if unmatched:
        sys.exit("select: nothing in Debian's packages matches: " + ", ".join(unmatched))
    return taken


def inside(source, path):
    """The path that a link leads to, below the root; itself if it is no link."""
    for _ in range(16):
        full = source / path
        if not full.is_symlink():
            return path
        target = os.readlink(full)
        joined = target if target.startswith("/") else os.path.join("/", os.path.dirname(path), target)
        path = os.path.normpath(joined).lstrip("/")
        first, _, rest = path.partition("/")
        path = os.path.join(MERGED[first], rest) if first in MERGED else path
    sys.exit(f"select: {path} is a link to itself")


def is_elf(file):
    with file.open("rb") as opened:
        return opened.read(4) == b"\x7fELF"


def needed(files):
    """What these programs and libraries name as needed."""
    names = set()
    for start in range(0, len(files), 200):
        said = subprocess.run(["readelf", "-dW", *files[start:start + 200]], capture_output=True, text=True, check=True)
        names |= set(re.findall(r"\(NEEDED\)\s+Shared library: \[([^]]+)\]", said.stdout))
    return names


def with_libraries(source, taken):
    """The paths, those that links among them lead to, and all libraries that they need."""
    whole, new = set(), set(taken) | {LOADER}
    while new:
        targets = {inside(source, path) for path in new} | new
        whole |= targets
        programs = [str(source / path) for path in sorted(targets)
                    if (source / path).is_file() and not (source / path).is_symlink() and is_elf(source / path)]
        new = {library(source, name) for name in needed(programs)} - whole if programs else set()
    return whole


def library(source, name):
    for folder in LIBRARIES:
        if os.path.lexists(source / folder / name):
            return f"{folder}/{name}"
    if name.startswith("ld-linux"):
        return LOADER
    sys.exit(f"select: no library {name} in {', '.join(LIBRARIES)}")


def complaints(source, path):
    """Why a file must not be in the image."""
    full = source / path
    state = full.lstat()
    if stat.S_ISLNK(state.st_mode):
        # Links to what was not taken would be errors that show late.
        return []
    if not stat.S_ISREG(state.st_mode):
        return [f"{path} is neither a file nor a link"]
    with full.open("rb") as opened:
        script = opened.read(2) == b"#!"
    found = [f"{path} is a script"] if script else []
    return found + ([f"{path} may be written by others"] if state.st_mode & 0o002 else [])


def copy(source, destination, path):
    target = destination / path
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    if (source / path).is_symlink():
        target.unlink(missing_ok=True)
        target.symlink_to(os.readlink(source / path))
        return
    shutil.copyfile(source / path, target)
    # Nothing keeps set-uid or set-gid, also where Debian has it (mount, umount).
    target.chmod(stat.S_IMODE((source / path).stat().st_mode) & 0o755)


def main():
    source, destination, lists = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    paths = sorted(with_libraries(source, chosen(source, lists)))
    wrong = [complaint for path in paths for complaint in complaints(source, path)]
    if wrong:
        sys.exit("select: " + "; ".join(wrong))
    for path in paths:
        copy(source, destination, path)
    print(f"{len(paths)} files of {len(everything(source))}")


if __name__ == "__main__":
    main()
