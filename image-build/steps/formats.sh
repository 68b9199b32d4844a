# The disk image for other hosts. Sourced by `inside`.

# make_format FORMAT: qcow2, vhdx or vmdk, from the raw image, and back again to see that nothing was lost.
make_format() {
    local format="$1" raw="$OUT/postern_$VERSION.raw" image="$OUT/postern_$VERSION.$1" options=()
    step "disk: $format"
    case "$format" in
        qcow2) options=(-c -o "compression_type=zstd,cluster_size=64k") ;;
        vhdx) options=(-o subformat=dynamic) ;;
        vmdk) options=(-o subformat=streamOptimized) ;;
        *) fail "there is no format $format" ;;
    esac
    rm -f "$image"
    qemu-img convert -f raw -O "$format" "${options[@]}" "$raw" "$image"
    qemu-img compare -q -f raw -F "$format" "$raw" "$image" || fail "the $format is not what the raw image is"
    note "$(basename "$image"): $(size "$image")"
}
