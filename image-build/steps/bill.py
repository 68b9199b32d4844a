#!/usr/bin/env python3
"""Writes the bill of materials, CycloneDX 1.5: `bill.py ROOT INSTALLED CARGO_LOCK NAME VERSION TIME`

Of Debian's packages those are listed of which the root has files (INSTALLED is what `installed` printed, its list of
files is in ROOT's package database), and of Cargo.lock everything that is not the workspace's own.
"""

import hashlib
import json
import sys
import time
import tomllib
import uuid
from pathlib import Path
from urllib.parse import quote


def debian(debian_root, image, installed):
    """The packages that at least one file of the image comes from."""
    info = debian_root / "var/lib/dpkg/info"
    for line in installed.read_text().splitlines():
        package, version, architecture, source, source_version = line.split()
        lists = [info / f"{package}.list", info / f"{package}:{architecture}.list"]
        files = [name for found in lists if found.exists() for name in found.read_text().splitlines()]
        kept = package.startswith("linux-image") or any(
            (image / name.lstrip("/")).is_file() or (image / ("usr" + name)).is_file() for name in files)
        if kept:
            yield {
                "type": "operating-system" if package.startswith("linux-image") else "library",
                "bom-ref": f"deb/{package}",
                "name": package,
                "version": version,
                "purl": f"pkg:deb/debian/{quote(package)}@{quote(version)}?arch={architecture}&distro=debian-13",
                "properties": [{"name": "debian:source", "value": f"{source} {source_version}"}],
            }


def crates(lock):
    """What Cargo.lock names beside the workspace's own packages."""
    for package in tomllib.loads(lock.read_text())["package"]:
        if "source" not in package:
            continue
        component = {
            "type": "library",
            "bom-ref": f"cargo/{package['name']}@{package['version']}",
            "name": package["name"],
            "version": package["version"],
            "purl": f"pkg:cargo/{package['name']}@{package['version']}",
        }
        if "checksum" in package:
            component["hashes"] = [{"alg": "SHA-256", "content": package["checksum"]}]
        yield component


def main():
    debian_root, image, installed, lock = (Path(name) for name in sys.argv[1:5])
    name, version, epoch = sys.argv[5], sys.argv[6], int(sys.argv[7])
    components = [*debian(debian_root, image, installed), *crates(lock)]
    stamp = hashlib.sha256(json.dumps(components).encode()).digest()[:16]
    print(json.dumps({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        # Of the content, so that the same content has the same number.
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=stamp, version=4)}",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)),
            "component": {"type": "operating-system", "bom-ref": "image", "name": name, "version": version},
        },
        "components": components,
        "dependencies": [{"ref": "image", "dependsOn": sorted(c["bom-ref"] for c in components)}],
    }, indent=1))


if __name__ == "__main__":
    main()
