#!/usr/bin/env python3
"""Puts GRUB's two parts together, as grub-bios-setup would on a device: `grub.py BOOT CORE MBR PARTITION`

BOOT is GRUB's first sector, CORE what grub-mkimage made. MBR gets the first 440 octets of the disk, PARTITION the content
of the BIOS boot partition, which starts at sector 2048. The offsets are those of GRUB's boot.h (include/grub/i386/pc).
"""

import struct
import sys
from pathlib import Path

SECTOR = 512
FIRST = 2048               # of the BIOS boot partition: systemd-repart aligns to 1 MiB
KERNEL_SECTOR = 0x5C       # GRUB_BOOT_MACHINE_KERNEL_SECTOR: where the core begins, 8 octets
DRIVE_CHECK = 0x66         # GRUB_BOOT_MACHINE_DRIVE_CHECK: a jump that keeps the drive that the BIOS named
BLOCKLIST = SECTOR - 12    # in the core's first sector: start, 8 octets; sectors, 2; segment, 2
SEGMENT = 0x820            # GRUB_BOOT_MACHINE_KERNEL_SEG + one sector
PARTITION = 1 << 20


def main():
    boot, core = bytearray(Path(sys.argv[1]).read_bytes()), bytearray(Path(sys.argv[2]).read_bytes())
    core += bytes(-len(core) % SECTOR)
    if len(core) > PARTITION:
        sys.exit(f"grub: the core has {len(core)} octets, its partition {PARTITION}")
    struct.pack_into("<Q", boot, KERNEL_SECTOR, FIRST)
    boot[DRIVE_CHECK:DRIVE_CHECK + 2] = b"\x90\x90"
    struct.pack_into("<QHH", core, BLOCKLIST, FIRST + 1, len(core) // SECTOR - 1, SEGMENT)
    Path(sys.argv[3]).write_bytes(boot[:440])
    Path(sys.argv[4]).write_bytes(core + bytes(PARTITION - len(core)))


if __name__ == "__main__":
    main()
