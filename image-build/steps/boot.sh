# Keys, unified kernel images, the boot loaders and the file system that they lie in. Sourced by `inside`.

KERNEL_NAME=vmlinuz

# make_keys: platform, exchange and database key in $KEYS, made where none are given, and the files that firmware enrols.
make_keys() {
    local name owner
    owner="$(uuid owner)"
    mkdir -p "$KEYS" "$OUT/enrolment"
    for name in PK KEK db; do
        if [ ! -e "$KEYS/$name.key" ]; then
            note "no $name.key in the folder of keys: made (give your own with POSTERN_KEYS=DIR)"
            (umask 077 && openssl req -quiet -x509 -newkey rsa:3072 -sha256 -nodes -days 7300 -subj "/CN=Postern $name/" \
                -keyout "$KEYS/$name.key" -out "$KEYS/$name.crt" 2>/dev/null)
        fi
        cert-to-efi-sig-list -g "$owner" "$KEYS/$name.crt" "$OUT/enrolment/$name.esl"
        openssl x509 -in "$KEYS/$name.crt" -outform DER -out "$OUT/enrolment/$name.cer"
    done
    authorise PK PK
    authorise PK KEK
    authorise KEK db
}

# authorise SIGNER NAME: $NAME.auth, which firmware in setup mode takes.
authorise() {
    sign-efi-sig-list -t "$(date -u -d "@$SOURCE_DATE_EPOCH" '+%F %T')" -k "$KEYS/$1.key" -c "$KEYS/$1.crt" "$2" \
        "$OUT/enrolment/$2.esl" "$OUT/enrolment/$2.auth" >/dev/null
}

# sign FILE: in place. Not where two builds are compared.
sign() {
    [ -z "${UNSIGNED:-}" ] || return 0
    sbsign --key "$KEYS/db.key" --cert "$KEYS/db.crt" --output "$1.signed" "$1" 2>"$WORK/sbsign.log" ||
        { cat "$WORK/sbsign.log" >&2; fail "sbsign"; }
    mv "$1.signed" "$1"
}

# cmdline MEDIUM: what the kernel of the disk or of the ISO is told.
cmdline() {
    local line
    line="$(sed 's/#.*//' "$HERE/system/cmdline" | xargs) roothash=$ROOTHASH"
    case "$1" in
        disk) echo "$line rd.systemd.wants=postern-data.target" ;;
        iso)
            echo "$line rd.systemd.wants=postern-live.target postern.live" \
                "systemd.verity_root_data=/dev/disk/by-loop-ref/postern-root" \
                "systemd.verity_root_hash=/dev/disk/by-loop-ref/postern-verity"
            ;;
    esac
}

# make_uki MEDIUM: kernel, initramfs and command line as one signed program.
make_uki() {
    step "unified kernel image of the $1"
    ukify build --linux="$WORK/$KERNEL_NAME" --initrd="$WORK/initrd" --cmdline="$(cmdline "$1")" \
        --os-release="@$WORK/root/usr/lib/os-release" --uname="$KERNEL" \
        --stub=/usr/lib/systemd/boot/efi/linuxx64.efi.stub --output="$WORK/$1.efi" >"$WORK/ukify.log" 2>&1 ||
        { cat "$WORK/ukify.log" >&2; fail "ukify"; }
    sign "$WORK/$1.efi"
    note "$(size "$WORK/$1.efi")"
}

# esp MEDIUM IMAGE MIB: the EFI system partition of the disk or of the ISO.
esp() {
    local medium="$1" image="$2" mib="$3" tree="$WORK/esp-$1"
    rm -rf "$tree" "$image"
    mkdir -p "$tree"/EFI/{BOOT,Linux} "$tree/loader/keys/auto"
    cp /usr/lib/systemd/boot/efi/systemd-bootx64.efi "$tree/EFI/BOOT/BOOTX64.EFI"
    sign "$tree/EFI/BOOT/BOOTX64.EFI"
    cp "$WORK/$medium.efi" "$tree/EFI/Linux/postern_$VERSION.efi"
    cp "$HERE/system/loader.conf" "$tree/loader/loader.conf"
    cp "$OUT"/enrolment/{PK,KEK,db}.auth "$tree/loader/keys/auto/"
    [ "$medium" != disk ] || grub_files "$tree"
    find "$tree" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
    truncate -s "${mib}M" "$image"
    mkfs.vfat -F 32 -s 1 --invariant -n POSTERN-ESP -i "$(uuid esp | tr -d - | head -c 8)" "$image" >/dev/null
    (cd "$tree" && find . -mindepth 1 -maxdepth 1 -print0 | LC_ALL=C sort -z | xargs -0 -I{} mcopy -s -m -i "$image" {} ::/)
}

# grub_files TREE: kernel, initramfs and configuration for BIOS, which can load no unified image.
grub_files() {
    local tree="$1" folder="$1/postern/$VERSION"
    mkdir -p "$tree/grub" "$folder"
    cp "$WORK/$KERNEL_NAME" "$folder/linux"
    cp "$WORK/initrd" "$folder/initrd"
    printf 'linux ($root)/postern/%s/linux %s\ninitrd ($root)/postern/%s/initrd\n' "$VERSION" "$(cmdline disk)" "$VERSION" \
        >"$folder/grub.cfg"
    cp "$HERE/system/grub.cfg" "$tree/grub/grub.cfg"
    grub-editenv "$tree/grub/grubenv" create
    grub-editenv "$tree/grub/grubenv" set "good=$VERSION" try=
}
