# The initramfs: what finds the root, checks it, and makes or opens the data partition. Sourced by `inside`.

make_initramfs() {
    step "initramfs"
    local tree="$WORK/initramfs"
    rm -rf "$tree"
    mkdir -p "$tree"
    top "$tree"
    mkdir -p "$tree/sysroot"
    note "$(python3 "$HERE/steps/select.py" "$DEBIAN" "$tree" "$HERE/initrd/files")"
    note "$(python3 "$HERE/steps/modules.py" "$DEBIAN/kernel/usr" "$tree" "$HERE/modules" initramfs)"
    ours "$tree" "$HERE/initrd/root"
    enable "$tree" "$HERE/initrd/enabled"
    ln -sfn initrd.target "$tree/usr/lib/systemd/system/default.target"
    cp "$WORK/root/usr/lib/os-release" "$tree/usr/lib/initrd-release"
    ln -sfn ../usr/lib/initrd-release "$tree/etc/initrd-release"
    ln -sfn ../usr/lib/initrd-release "$tree/etc/os-release"
    ln -sfn usr/lib/systemd/systemd "$tree/init"
    ln -sfn ../bin/kmod "$tree/usr/sbin/modprobe"
    : >"$tree/etc/machine-id"
    users "$tree"
    ldconfig -r "$tree" -X
    rm -rf "$tree"/etc/ld.so.conf* "$tree/var/cache"
    find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    (cd "$tree" && find . -print0 | LC_ALL=C sort -z |
        cpio --quiet --null --create --format=newc --owner=0:0 --reproducible) |
        zstd -q -15 -T1 -f -o "$WORK/initrd"
    note "$(size "$WORK/initrd")"
}
