//! The simulated disk keeps what it must and nothing more.

use super::*;

fn read(disk: &SimulatedDisk, path: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let mut data = vec![0; usize::try_from(file.length()?).unwrap()];
    crate::disk::read_exact_at(&*file, &mut data, 0)?;
    Ok(data)
}

#[test]
fn what_was_synced_survives_and_nothing_else_is_certain() {
    let disk = SimulatedDisk::new(1);
    let mut file = disk.create("a").unwrap();
    file.append(b"synced").unwrap();
    file.sync().unwrap();
    disk.sync_folder("").unwrap();
    file.append(b" and not").unwrap();
    let _unsynced_name = disk.create("b").unwrap();
    let (mut contents, mut names) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..200 {
        let found = disk.crash(seed);
        let content = read(&found, "a").unwrap();
        assert!(content.starts_with(b"synced"));
        contents.insert(content);
        names.insert(found.list("").unwrap().len());
    }
    assert!(contents.len() > 5, "torn in many places");
    assert_eq!(names, BTreeSet::from([1, 2]));
}

#[test]
fn a_failed_sync_loses_what_later_ones_vouch_for() {
    let disk = SimulatedDisk::new(1);
    let mut file = disk.create("a").unwrap();
    disk.sync_folder("").unwrap();
    file.append(b"lost").unwrap();
    disk.fail_at(disk.operations(), Fault::Io);
    assert!(file.sync().is_err());
    file.sync().unwrap();
    assert!((0..50).any(|seed| read(&disk.crash(seed), "a").unwrap() == [0; 4]));
}

#[test]
fn without_power_nothing_works() {
    let disk = SimulatedDisk::new(1);
    disk.cut_power_at(1);
    let mut file = disk.create("a").unwrap();
    assert!(file.append(b"x").is_err());
    assert!(file.sync().is_err() && disk.sync_folder("").is_err());
}
