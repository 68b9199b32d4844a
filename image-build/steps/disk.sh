# The disk image and its formats. Sourced by `inside`.

# grub_core: GRUB for BIOS: the first sector, and the rest for the BIOS boot partition.
grub_core() {
    cat >"$WORK/early.cfg" <<'END'
search --no-floppy --label POSTERN-ESP --set=root
configfile ($root)/grub/grub.cfg
END
    grub-mkimage --format=i386-pc --output="$WORK/core.img" --prefix='/grub' --config="$WORK/early.cfg" --compression=xz \
        biosdisk part_gpt fat search search_label configfile loadenv echo test linux serial terminal sleep reboot boot normal
    python3 "$HERE/steps/grub.py" /usr/lib/grub/i386-pc/boot.img "$WORK/core.img" "$WORK/mbr.img" "$WORK/bios.img"
}

# definition NAME LINE...: a partition of the image, for systemd-repart.
definition() {
    local name="$1"
    shift
    printf '[Partition]\n' >"$WORK/partitions/$name.conf"
    printf '%s\n' "$@" >>"$WORK/partitions/$name.conf"
}

# as_uuid HEX: 32 hexadecimal digits as a UUID.
as_uuid() { sed -E 's/^(.{8})(.{4})(.{4})(.{4})(.{12})$/\1-\2-\3-\4-\5/' <<<"$1"; }

make_disk() {
    step "disk: partitions"
    local disk="$OUT/postern_$VERSION.raw"
    grub_core
    esp disk "$WORK/disk.esp" 512
    rm -rf "$WORK/partitions" "$disk"
    mkdir -p "$WORK/partitions"
    definition 10-bios Type=21686148-6449-6E6F-744E-656564454649 Label=bios SizeMinBytes=1M SizeMaxBytes=1M \
        "CopyBlocks=$WORK/bios.img"
    definition 20-esp Type=esp Label=esp SizeMinBytes=512M SizeMaxBytes=512M "CopyBlocks=$WORK/disk.esp"
    # The names of both follow from the root's hash: that is how the initramfs finds them (systemd-veritysetup-generator).
    definition 30-root Type=root-x86-64 "Label=postern_$VERSION" "UUID=$(as_uuid "${ROOTHASH:0:32}")" SizeMinBytes=384M \
        SizeMaxBytes=384M "CopyBlocks=$WORK/root.erofs" ReadOnly=yes
    definition 31-verity Type=root-x86-64-verity "Label=postern_${VERSION}_verity" "UUID=$(as_uuid "${ROOTHASH:32:32}")" \
        SizeMinBytes=32M SizeMaxBytes=32M "CopyBlocks=$WORK/root.verity" ReadOnly=yes
    systemd-repart --offline=yes --empty=create --size=auto --seed="$(uuid disk)" --definitions="$WORK/partitions" \
        --dry-run=no --no-pager "$disk" >"$WORK/repart.log" 2>&1 || { cat "$WORK/repart.log" >&2; fail "systemd-repart"; }
    dd if="$WORK/mbr.img" of="$disk" bs=440 count=1 conv=notrunc status=none
    note "$(basename "$disk"): $(size "$disk")"
}
