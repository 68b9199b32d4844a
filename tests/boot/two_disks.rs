//! A machine with two disks and a Postern on each: the data are those of the disk whose root is in use.

use postern_tests::machine::{Firmware, MACHINE, Machine, Medium, Network, Setup, disk, seed};
use postern_tests::needs;
use postern_tests::ports;
use postern_tests::scratch::Scratch;

use crate::{CONFIG, META_DATA, WORKS, closed, greeting};

#[test]
fn a_new_disk_does_not_take_the_data_partition_of_the_old_one_beside_it() {
    needs!(MACHINE);
    let scratch = Scratch::new("two");
    let volume = seed(&scratch, &[("user-data", CONFIG), ("meta-data", META_DATA)]);
    let (used, new) = (disk(&scratch, "used.qcow2"), disk(&scratch, "new.qcow2"));
    {
        let medium = Medium::Disk(used.clone());
        let smtp = ports::free();
        let mut machine = Machine::start(&scratch, Firmware::Bios, &medium, Some(&volume), &[(smtp, 25)]);
        greeting(&mut machine, smtp);
        machine.expect(&[WORKS]);
    }
    let smtp = ports::free();
    let setup = Setup {
        firmware: Firmware::Bios,
        medium: &Medium::Disk(new),
        second_disk: Some(&used),
        seed: None,
        network: Network::Forwards(vec![(smtp, 25)]),
        tpm: None,
        system: None,
    };
    let mut machine = setup.start(&scratch);
    machine.expect(&["NO CONFIG", "CIDATA"]);
    closed(smtp);
}
