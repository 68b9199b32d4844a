# The root: Debian's files by list, ours on top, one EROFS image and its hash tree. Sourced by `inside`.

# enable TREE LIST: makes the links of a list of targets and units.
enable() {
    local tree="$1" list="$2" target unit found
    while read -r target unit; do
        found="$tree/usr/lib/systemd/system/${unit/@*./@.}"
        [ -e "$found" ] || fail "$list names $unit, which is not in the image"
        mkdir -p "$tree/usr/lib/systemd/system/$target.wants"
        ln -sf "../${unit/@*./@.}" "$tree/usr/lib/systemd/system/$target.wants/$unit"
    done < <(sed 's/#.*//' "$list" | awk 'NF == 2')
}

# ours TREE FOLDER: copies our own files, with the rights that they have in the image, whatever the checkout's are.
ours() {
    cp -rP --no-preserve=all "$2/." "$1/"
}

# top TREE: the folders and links that every Debian root has.
top() {
    local tree="$1" name
    for name in bin sbin lib lib64; do
        mkdir -p "$tree/usr/$name"
        ln -sfn "usr/$name" "$tree/$name"
    done
    mkdir -p "$tree"/{dev,proc,run,sys,tmp,var,root,etc}
    chmod 1777 "$tree/tmp"
    chmod 700 "$tree/root"
    ln -sfn /proc/self/mounts "$tree/etc/mtab"
}

# users TREE: passwd and group, from the lists of the packages that are in it and from ours.
users() {
    local tree="$1"
    # Only the lines of files that are in the tree: nothing else of Debian's first users.
    systemd-sysusers --root="$tree" 2>"$WORK/sysusers.log" || { cat "$WORK/sysusers.log" >&2; fail "systemd-sysusers"; }
    rm -f "$tree"/etc/{passwd,group,shadow,gshadow}- "$tree"/etc/.pwd.lock
    # No password opens anything, and there is nothing to open.
    sed -i 's|^\([^:]*\):[^:]*:|\1:!*:|' "$tree"/etc/shadow
    sed -i 's|:[^:]*$|:/usr/sbin/nologin|' "$tree"/etc/passwd
    awk -F: '{ $3 = ""; OFS = ":"; $1 = $1; print $1 ":" $2 "::::::" ":" }' "$tree"/etc/shadow >"$tree"/etc/shadow.new
    mv "$tree"/etc/shadow.new "$tree"/etc/shadow
    chmod 600 "$tree"/etc/shadow "$tree"/etc/gshadow
}

# settings TREE: /etc, which is as unchangeable as the rest of the root. What a machine has of its own is a link into /var.
settings() {
    local tree="$1"
    cat >"$tree/usr/lib/os-release" <<END
NAME="Postern"
PRETTY_NAME="Postern $VERSION"
ID=postern
ID_LIKE=debian
VERSION="$VERSION"
VERSION_ID="$VERSION"
IMAGE_ID=postern
IMAGE_VERSION="$VERSION"
BUILD_ID="$COMMIT"
END
    ln -sfn ../usr/lib/os-release "$tree/etc/os-release"
    # Relative: the initramfs follows it too, from where the root is mounted there.
    ln -sfn ../var/lib/system/machine-id "$tree/etc/machine-id"
    ln -sfn /var/lib/postern-settings "$tree/etc/postern"
    ln -sfn /usr/share/zoneinfo/UTC "$tree/etc/localtime"
    echo postern >"$tree/etc/hostname"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$tree/etc/hosts"
    printf 'nameserver 127.0.0.1\noptions edns0 trust-ad\n' >"$tree/etc/resolv.conf"
    printf 'passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n' \
        >"$tree/etc/nsswitch.conf"
    : >"$tree/etc/fstab"
    # The clock never goes below this file's time (systemd and systemd-timesyncd): the build's.
    : >"$tree/usr/lib/clock-epoch"
    # The libraries lie in folders that the loader does not know by itself.
    ldconfig -r "$tree" -X
    rm -rf "$tree/var/cache" "$tree"/etc/ld.so.conf*
    mkdir -p "$tree/var"
}

make_root() {
    step "root: files of Debian's packages that are listed"
    rm -rf "$WORK/root"
    mkdir -p "$WORK/root"
    top "$WORK/root"
    note "$(python3 "$HERE/steps/select.py" "$DEBIAN" "$WORK/root" "$HERE/system/files")"
    note "$(python3 "$HERE/steps/modules.py" "$DEBIAN/kernel/usr" "$WORK/root" "$HERE/modules")"
    ours "$WORK/root" "$HERE/system/root"
    install -m 755 "$POSTERN" "$WORK/root/usr/bin/postern"
    strip --strip-all "$WORK/root/usr/bin/postern"
    local library
    for library in $(readelf -dW "$POSTERN" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
        [[ "$library" == ld-linux* ]] || [ -e "$WORK/root/usr/lib/x86_64-linux-gnu/$library" ] ||
            fail "postern needs $library: add it to image-build/system/files"
    done
    enable "$WORK/root" "$HERE/system/enabled"
    ln -sfn multi-user.target "$WORK/root/usr/lib/systemd/system/default.target"
    users "$WORK/root"
    settings "$WORK/root"
}

# seal_root: root.erofs, root.verity and their hash.
seal_root() {
    step "root: EROFS and its hash tree"
    rm -f "$WORK"/root.erofs "$WORK"/root.verity
    mkfs.erofs --quiet -zlz4hc,level=9 -C65536 --all-root -T"$SOURCE_DATE_EPOCH" -U"$(uuid root)" \
        "$WORK/root.erofs" "$WORK/root" >"$WORK/erofs.log" 2>&1 || { cat "$WORK/erofs.log" >&2; fail "mkfs.erofs"; }
    [ "$(stat -c %s "$WORK/root.erofs")" -le $((384 << 20)) ] || fail "the root is larger than its slot of 384 MiB"
    veritysetup format --salt="$(uuid salt | tr -d -)" --uuid="$(uuid verity)" --root-hash-file="$WORK/roothash" \
        "$WORK/root.erofs" "$WORK/root.verity" >/dev/null
    ROOTHASH="$(cat "$WORK/roothash")"
    note "$(size "$WORK/root.erofs") and $(size "$WORK/root.verity"), root hash ${ROOTHASH:0:16}..."
}
