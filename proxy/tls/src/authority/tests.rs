use super::*;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

const NOW: Duration = Duration::from_secs(1_795_288_205);
const OWNER: &str = "mx1.example.net";

fn load(folder: &tempfile::TempDir) -> Result<Authority, AuthorityError> {
    Authority::load_or_create(folder.path(), OWNER, NOW)
}

fn folder_with_pair() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    load(&folder).unwrap();
    folder
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_second_start_finds_what_the_first_one_made() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (load(&folder).unwrap(), load(&folder).unwrap());
    assert_eq!(first.certificate(), second.certificate());
    assert_eq!(first.certificate_pem(), second.certificate_pem());
    assert_eq!(first.certificate_pem(), fs::read_to_string(folder.path().join(CERTIFICATE)).unwrap());
    assert_eq!(first.not_after(), NOW + LIFE);
    let shown = format!("{first:?}");
    assert!(!shown.contains("issuer") && !shown.contains("key"), "{shown}");
}

#[test]
fn the_key_is_the_owners_and_the_certificate_everybodys() {
    let folder = folder_with_pair();
    assert_eq!(mode(&folder.path().join(KEY)), 0o600);
    assert_eq!(mode(&folder.path().join(CERTIFICATE)), 0o644);
    let names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing else is left: {names:?}");
}

#[test]
fn what_an_interrupted_start_left_aside_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let aside = folder.path().join("interception-ca.key.new");
    fs::write(&aside, "half a k").unwrap();
    chmod(&aside, 0o666);
    load(&folder).unwrap();
    assert!(!aside.exists());
    assert_eq!(mode(&folder.path().join(KEY)), 0o600);
}

#[test]
fn it_can_sign_servers_and_nothing_else() {
    let folder = folder_with_pair();
    let authority = load(&folder).unwrap();
    let (_, certificate) = X509Certificate::from_der(authority.certificate()).unwrap();
    let constraints = certificate.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = certificate.key_usage().unwrap().unwrap();
    assert!(usage.critical);
    assert_eq!(usage.value.flags, 0b110_0000, "keyCertSign and cRLSign");
    assert_eq!(certificate.subject().to_string(), "CN=Postern CA of mx1.example.net");
    assert_eq!(certificate.validity().not_before.timestamp(), (NOW - BACKDATED).as_secs().cast_signed());
}

#[test]
fn no_two_have_the_same_serial_number() {
    let serial = |folder: tempfile::TempDir| {
        let authority = load(&folder).unwrap();
        let (_, certificate) = X509Certificate::from_der(authority.certificate()).unwrap();
        certificate.raw_serial().to_vec()
    };
    assert_ne!(serial(folder_with_pair()), serial(folder_with_pair()));
}

#[test]
fn an_owner_of_any_length_and_script_fits() {
    for owner in [String::new(), "é".repeat(400), "x".repeat(70_000)] {
        let folder = tempfile::tempdir().unwrap();
        Authority::load_or_create(folder.path(), &owner, NOW).unwrap();
    }
}

#[test]
fn half_a_pair_is_an_error_that_names_both_files() {
    for (gone, left) in [(KEY, CERTIFICATE), (CERTIFICATE, KEY)] {
        let folder = folder_with_pair();
        fs::remove_file(folder.path().join(gone)).unwrap();
        let error = load(&folder).unwrap_err();
        assert!(matches!(error, AuthorityError::HalfThere { .. }), "{error}");
        let words = error.to_string();
        assert!(
            words.contains(&format!("{left} is there")) && words.contains(&format!("{gone} is not")),
            "{words}"
        );
        assert!(words.contains("backup"), "{words}");
        assert!(folder.path().join(left).exists() && !folder.path().join(gone).exists());
    }
}

#[test]
fn permissions_that_are_too_wide_are_an_error_that_says_which_to_set() {
    for (name, given, allowed) in
        [(KEY, 0o640, "600"), (KEY, 0o604, "600"), (CERTIFICATE, 0o664, "644"), (CERTIFICATE, 0o646, "644")]
    {
        let folder = folder_with_pair();
        chmod(&folder.path().join(name), given);
        let error = load(&folder).unwrap_err();
        assert!(matches!(error, AuthorityError::TooOpen { .. }), "{error}");
        assert!(error.to_string().contains(&format!("{name}: mode {given:03o}")), "{error}");
        assert!(error.to_string().contains(&format!("chmod {allowed}")), "{error}");
    }
    let folder = folder_with_pair();
    chmod(&folder.path().join(KEY), 0o400);
    chmod(&folder.path().join(CERTIFICATE), 0o600);
    load(&folder).unwrap();
}

#[test]
fn an_expired_one_is_an_error_that_says_what_follows() {
    let folder = folder_with_pair();
    let later = NOW + LIFE + Duration::from_secs(3 * 86_400);
    let error = Authority::load_or_create(folder.path(), OWNER, later).unwrap_err();
    assert!(matches!(error, AuthorityError::Expired { days: 3, .. }), "{error}");
    assert!(error.to_string().contains("every inner server"), "{error}");
}

#[test]
fn what_is_no_authority_is_an_error_and_stays_as_it_is() {
    let other = folder_with_pair();
    let server = rcgen::generate_simple_self_signed(["mx.example.net".to_owned()]).unwrap();
    let pem = server.cert.pem();
    let of_other = fs::read_to_string(other.path().join(CERTIFICATE)).unwrap();
    let two = format!("{of_other}{of_other}");
    for (name, content, why) in [
        (CERTIFICATE, "", "no certificate in it"),
        (CERTIFICATE, &pem[..pem.len() / 2], "no certificate in it"),
        (CERTIFICATE, &pem, "not an authority's"),
        (CERTIFICATE, &of_other, "another key"),
        (CERTIFICATE, &two, "more than one"),
        (KEY, "", "no private key in it"),
        (KEY, &pem, "no private key in it"),
    ] {
        let folder = folder_with_pair();
        fs::write(folder.path().join(name), content).unwrap();
        let error = load(&folder).unwrap_err();
        assert!(matches!(error, AuthorityError::Unusable { .. }), "{error}");
        assert!(error.to_string().contains(why) && error.to_string().contains(name), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), content);
    }
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let error = Authority::load_or_create(&missing, OWNER, NOW).unwrap_err();
    assert!(matches!(error, AuthorityError::Io { .. }) && error.to_string().contains("missing"), "{error}");
}
