//! Runs `nft` and `ip`: found in fixed folders, without a shell, with an empty environment, a time limit and a bound on what they
//! may answer.

use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::error::FirewallError;

/// Where programs of the system are. The caller's `PATH` is not asked: this runs as root.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/// More than the longest listing there can be: two full ban sets of a hundred octets an entry.
const MAX_ANSWER: u64 = 64 << 20;

/// A program of the system's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    name: &'static str,
    package: &'static str,
}

impl Program {
    pub(crate) const NFT: Self = Self { name: "nft", package: "nftables" };
    pub(crate) const IP: Self = Self { name: "ip", package: "iproute2" };

    /// What it wrote to its standard output, if it said that all is well.
    pub(crate) fn run(
        self,
        arguments: &[&str],
        input: &str,
        patience: Duration,
    ) -> Result<String, FirewallError> {
        let file = self.find()?;
        let refused =
            |error: io::Error| FirewallError::Refused { program: self.name, said: error.to_string() };
        let mut child = Command::new(file)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(refused)?;
        let answers = converse(&mut child, input);
        let (Some(output), Some(complaint)) =
            (self.answer(&answers.0, patience), self.answer(&answers.1, patience))
        else {
            // It may have ended by itself meanwhile, then there is nothing to stop.
            let _ = child.kill();
            child.wait().map_err(refused)?;
            return Err(FirewallError::Late { program: self.name, seconds: patience.as_secs() });
        };
        // Both of its outputs are closed: it has ended or is about to.
        if child.wait().map_err(refused)?.success() {
            Ok(output)
        } else {
            Err(FirewallError::of(self.name, &complaint))
        }
    }

    fn find(self) -> Result<PathBuf, FirewallError> {
        let mut files = FOLDERS.iter().map(|folder| Path::new(folder).join(self.name));
        let missing = FirewallError::Missing { program: self.name, package: self.package };
        files.find(|file| file.is_file()).ok_or(missing)
    }

    fn answer(self, from: &mpsc::Receiver<String>, patience: Duration) -> Option<String> {
        from.recv_timeout(patience).ok()
    }
}

type Answers = (mpsc::Receiver<String>, mpsc::Receiver<String>);

/// Writes to the child and reads both of its outputs, each in a thread of its own, so that no full pipe stops the other.
fn converse(child: &mut Child, input: &str) -> Answers {
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_owned();
        // Who does not read what it was told says why on its standard error.
        thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    }
    (listen(child.stdout.take()), listen(child.stderr.take()))
}

fn listen(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (done, answer) = mpsc::channel();
    thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(pipe) = pipe {
            // What was read before an error is more than nothing.
            let _ = pipe.take(MAX_ANSWER).read_to_end(&mut text);
        }
        // Nobody waits for it any more if it came too late.
        let _ = done.send(String::from_utf8_lossy(&text).into_owned());
    });
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);
    const CAT: Program = Program { name: "cat", package: "coreutils" };

    #[test]
    fn a_program_gets_its_input_and_no_environment() {
        let long = "x".repeat(1 << 20);
        assert_eq!(CAT.run(&[], &long, PATIENCE).unwrap(), long);
        let env = Program { name: "env", package: "coreutils" };
        assert_eq!(env.run(&[], "", PATIENCE).unwrap(), "");
    }

    #[test]
    fn a_program_that_fails_is_quoted() {
        let error = CAT.run(&["/no/such/file"], "", PATIENCE).unwrap_err();
        assert!(error.to_string().starts_with("cat refused: "), "{error}");
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_names_its_package() {
        let error =
            Program { name: "no-such-program", package: "nowhere" }.run(&[], "", PATIENCE).unwrap_err();
        assert!(error.to_string().ends_with("install the package nowhere"), "{error}");
    }

    #[test]
    fn a_program_that_does_not_end_is_stopped() {
        let sleep = Program { name: "sleep", package: "coreutils" };
        let error = sleep.run(&["600"], "", Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, FirewallError::Late { program: "sleep", .. }), "{error}");
    }
}
