#!/usr/bin/env python3
"""Copies the listed kernel modules and what they need: `modules.py SOURCE DESTINATION LIST [initramfs]`

A line of the list is a module's name, then `initramfs` if it is needed before the root is mounted, then why. Modules are
unpacked on the way: the image is compressed as a whole. A module built into the kernel is an error, its line is not needed.
"""

import lzma
import subprocess
import sys
from pathlib import Path


def listed(file, early):
    for line in Path(file).read_text().splitlines():
        words = line.split("#")[0].split()
        if words and (not early or words[1:2] == ["initramfs"]):
            yield words[0]


def files(source, version, names):
    """The files of these modules and of those that they need, in loading order."""
    found, wrong = [], []
    for name in names:
        said = subprocess.run(["modprobe", "--dirname", source, "--set-version", version, "--show-depends", name],
                              capture_output=True, text=True)
        if said.returncode:
            wrong.append(f"{name}: {said.stderr.strip()}")
        lines = [line.split() for line in said.stdout.splitlines()]
        if lines and all(words[0] == "builtin" for words in lines):
            wrong.append(f"{name} is built into the kernel")
        found += [words[1] for words in lines if words[0] == "insmod"]
    if wrong:
        sys.exit("modules: " + "; ".join(wrong))
    return list(dict.fromkeys(found))


def main():
    source, destination, names = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    early = sys.argv[4:] == ["initramfs"]
    (version,) = [folder.name for folder in (source / "lib/modules").iterdir()]
    # The package makes its index when it is installed; it was only unpacked.
    subprocess.run(["depmod", "--basedir", source, version], check=True)
    folder = destination / "usr/lib/modules" / version
    copied = files(str(source), version, listed(names, early))
    for file in copied:
        relative = Path(file).relative_to(source / "lib/modules" / version)
        target = folder / str(relative).removesuffix(".xz")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(lzma.decompress(Path(file).read_bytes()) if file.endswith(".xz") else Path(file).read_bytes())
    for name in ["modules.builtin", "modules.builtin.modinfo", "modules.order"]:
        (folder / name).write_bytes((source / "lib/modules" / version / name).read_bytes())
    subprocess.run(["depmod", "--basedir", destination / "usr", version], check=True)
    print(f"{len(copied)} modules of {version}")


if __name__ == "__main__":
    main()
