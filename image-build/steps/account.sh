# What lies beside the image: versions, bill of materials, licences, unit scores, sums. Sourced by `inside`.

account() {
    step "bill of materials, licences, sums"
    python3 "$HERE/steps/bill.py" "$DEBIAN" "$WORK/root" "$DEBIAN/installed" "$TREE/Cargo.lock" postern "$VERSION" \
        "$SOURCE_DATE_EPOCH" >"$OUT/postern_$VERSION.cdx.json"
    cp "$DEBIAN/installed" "$OUT/postern_$VERSION.packages"
    # The root without the disk around it, for the tests and for updates.
    cp "$WORK/root.erofs" "$OUT/postern_$VERSION.root"
    cp "$WORK/root.verity" "$OUT/postern_$VERSION.verity"
    cp "$WORK/roothash" "$OUT/postern_$VERSION.roothash"
    chmod 644 "$OUT"/postern_"$VERSION".*
    tar -C "$DEBIAN" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
        -cf - $(cd "$DEBIAN" && ls -d usr/share/doc/*/copyright kernel/usr/share/doc/*/copyright usr/share/common-licenses) |
        zstd -q -f -10 -o "$OUT/postern_$VERSION.licences.tar.zst"
    contents
    scores
    (cd "$OUT" && find . -maxdepth 1 -type f -name 'postern_*' ! -name '*.sha256' -printf '%f\n' | LC_ALL=C sort |
        xargs sha256sum) >"$WORK/sums"
    mv "$WORK/sums" "$OUT/postern_$VERSION.sha256"
}

# contents: rights, owner, kind and path of all that is in the root, read back from the image itself.
contents() {
    rm -rf "$WORK/readback"
    fsck.erofs --extract="$WORK/readback" --preserve "$WORK/root.erofs" >"$WORK/readback.log" 2>&1 ||
        { cat "$WORK/readback.log" >&2; fail "the root cannot be read back"; }
    (cd "$WORK/readback" && find . -mindepth 1 -printf '%m %U:%G %y /%P\n' | LC_ALL=C sort -k4) >"$OUT/postern_$VERSION.files"
    rm -rf "$WORK/readback"
}

# scores: how exposed each of our units is, as systemd sees it (0 is best, 10 worst).
scores() {
    local unit
    for unit in "$WORK"/root/usr/lib/systemd/system/{postern*,unbound}.service; do
        unit="$(basename "$unit")"
        systemd-analyze security --no-pager --offline=yes --root="$WORK/root" "${unit/@./@tty1.}" 2>/dev/null |
            sed -n 's/^.*exposure level for \([^:]*\): \([0-9.]*\).*/\1 \2/p'
    done >"$OUT/postern_$VERSION.scores"
}
