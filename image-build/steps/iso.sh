# The hybrid ISO: CD and USB stick, BIOS and UEFI. Sourced by `inside`.

ISO_GRUB=/usr/lib/grub/i386-pc

# iso_grub TREE: GRUB for BIOS, from a CD (El Torito) and from a stick (the first sectors of the image).
iso_grub() {
    local tree="$1"
    mkdir -p "$tree/boot/grub"
    cat >"$WORK/early-iso.cfg" <<'END'
search --no-floppy --label POSTERN --set=root
configfile ($root)/boot/grub/grub.cfg
END
    grub-mkimage --format=i386-pc-eltorito --output="$tree/boot/grub/eltorito.img" --prefix=/boot/grub \
        --config="$WORK/early-iso.cfg" --compression=xz biosdisk part_gpt part_msdos iso9660 search search_label configfile \
        echo test linux serial terminal sleep reboot boot normal
    cat >"$tree/boot/grub/grub.cfg" <<END
set superusers="postern"
export superusers
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
echo "Postern $VERSION, live"
linux (\$root)/boot/linux $(cmdline iso)
initrd (\$root)/boot/initrd
boot
END
    cp "$WORK/$KERNEL_NAME" "$tree/boot/linux"
    cp "$WORK/initrd" "$tree/boot/initrd"
}

# What grub-mkrescue tells xorriso, with the EFI partition appended instead of inside: an El Torito image of more than some
# 20 MB does not start everywhere, a partition does, and a stick needs it as one anyway.
make_iso() {
    step "ISO"
    local tree="$WORK/iso" iso="$OUT/postern_$VERSION.iso" stamp
    stamp="$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S00)"
    rm -rf "$tree" "$iso"
    mkdir -p "$tree/postern"
    iso_grub "$tree"
    cp "$WORK/root.erofs" "$WORK/root.verity" "$tree/postern/"
    # FAT32 has at least 65,525 clusters: 33 MiB of the smallest, and as much as the unified kernel image needs.
    esp iso "$WORK/iso.esp" $(($(stat -c %s "$WORK/iso.efi") / 1048576 + 20))
    find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    xorriso -as mkisofs -quiet -o "$iso" -V POSTERN -volset POSTERN --modification-date="$stamp" -R -J -joliet-long \
        --gpt_disk_guid "$(uuid iso | tr -d -)" \
        -b boot/grub/eltorito.img -no-emul-boot -boot-load-size 4 -boot-info-table --grub2-boot-info \
        --grub2-mbr "$ISO_GRUB/boot_hybrid.img" --protective-msdos-label \
        -append_partition 2 c12a7328-f81f-11d2-ba4b-00a0c93ec93b "$WORK/iso.esp" -appended_part_as_gpt \
        -c boot.cat --mbr-force-bootable -partition_offset 16 \
        -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot \
        --set_all_file_dates "$stamp" "$tree" 2>"$WORK/xorriso.log" || { cat "$WORK/xorriso.log" >&2; fail "xorriso"; }
    [ "$(stat -c %s "$iso")" -le $((200 << 20)) ] || fail "the ISO is larger than 200 MiB"
    note "$(basename "$iso"): $(size "$iso")"
}
