//! OpenLDAP's slapd with a few people in it: a directory of recipients that wants STARTTLS and a password.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::certificate::Certificate;
use crate::child::{self, Child};
use crate::ports;
use crate::scratch::Scratch;

/// Where Debian's package keeps its schemas and its modules.
const SCHEMAS: &str = "/etc/ldap/schema";
const MODULES: &str = "/usr/lib/ldap";

/// Under which everybody is.
pub const BASE: &str = "ou=people,dc=corp,dc=test";
/// Who may read, and the password.
pub const READER: (&str, &str) = ("cn=postern,dc=corp,dc=test", "read me");

/// A running directory.
#[derive(Debug)]
pub struct Slapd {
    address: SocketAddr,
    process: Option<Child>,
    scratch: Scratch,
}

impl Slapd {
    /// Starts one that has a person for each of these names, with each one's addresses.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(certificate: &Certificate, people: &[(&str, &[&str])]) -> Self {
        let scratch = Scratch::new("slapd");
        scratch.folder("database", "root");
        let config = scratch.write("slapd.conf", config(&scratch, certificate));
        let entries = scratch.write("people.ldif", entries(people));
        let mut add = Command::new("slapadd");
        add.arg("-q").arg("-f").arg(&config).arg("-l").arg(entries);
        let added = child::run(&add, Duration::from_secs(60));
        assert!(added.success, "slapadd: {}", added.output);
        let mut slapd = Self { address: ports::free(), process: None, scratch };
        slapd.start_again(&config);
        slapd
    }

    fn start_again(&mut self, config: &Path) {
        let mut command = Command::new("slapd");
        // In the foreground, and it logs connections.
        command.args(["-d", "256", "-h", &format!("ldap://{}", self.address)]).arg("-f").arg(config);
        let mut process = Child::spawn("slapd", &command, &self.scratch.join("output"));
        process.expect_listening(self.address);
        self.process = Some(process);
    }

    /// Ends it; what is in it stays.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.join("output")).unwrap_or_default()
    }
}

fn config(scratch: &Scratch, certificate: &Certificate) -> String {
    let folder = scratch.path().display();
    let schemas: String = ["core", "cosine", "inetorgperson"]
        .map(|schema| format!("include {SCHEMAS}/{schema}.schema\n"))
        .concat();
    let (reader, password) = READER;
    format!(
        "{schemas}pidfile {folder}/pid\nargsfile {folder}/args\nmodulepath {MODULES}\nmoduleload back_mdb\n\
         TLSCertificateFile {chain}\nTLSCertificateKeyFile {key}\nsecurity simple_bind=128\n\
         database mdb\nsuffix \"dc=corp,dc=test\"\nrootdn \"{reader}\"\nrootpw \"{password}\"\n\
         directory {folder}/database\naccess to * by users read by anonymous auth\n",
        chain = certificate.chain.display(),
        key = certificate.key.display(),
    )
}

fn entries(people: &[(&str, &[&str])]) -> String {
    let mut text =
        "dn: dc=corp,dc=test\nobjectClass: dcObject\nobjectClass: organization\ndc: corp\no: Corp\n\n\
                    dn: ou=people,dc=corp,dc=test\nobjectClass: organizationalUnit\nou: people\n"
            .to_owned();
    for (name, addresses) in people {
        text.push_str(&format!(
            "\ndn: uid={name},{BASE}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\n"
        ));
        addresses.iter().for_each(|address| text.push_str(&format!("mail: {address}\n")));
    }
    text
}
