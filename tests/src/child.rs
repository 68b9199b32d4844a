//! Processes that end with the value that owns them.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::ports;

/// No process outlives this, also if the test that started it was killed and could not clean up.
pub const LIFETIME: Duration = Duration::from_secs(900);
/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// How much of a process's output is shown when its test fails, in bytes from the end.
const SHOWN: usize = 16 * 1024;

/// A process in a group of its own, its output in a file. Dropping it ends the group; if the test is failing then, the
/// end of the output is shown.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    output: PathBuf,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Starts a process; standard output and error go to the file `output`, standard input is empty.
    pub fn spawn(name: &str, command: &Command, output: &Path) -> Self {
        let file = File::create(output).unwrap_or_else(|error| panic!("{}: {error}", output.display()));
        let errors = file.try_clone().unwrap_or_else(|error| panic!("{}: {error}", output.display()));
        let mut bounded = bounded(command);
        let process = bounded
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name: name.to_owned(), process, output: output.to_owned(), ended: None }
    }

    /// Starts a process that is talked with by its standard input and output; its errors go to the file `output`.
    pub fn spawn_to_talk(name: &str, command: &Command, output: &Path) -> (Self, ChildStdin, ChildStdout) {
        let errors = File::create(output).unwrap_or_else(|error| panic!("{}: {error}", output.display()));
        let mut bounded = bounded(command);
        bounded.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).process_group(0);
        let mut process = bounded.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let (Some(to), Some(from)) = (process.stdin.take(), process.stdout.take()) else {
            panic!("{name} has no input or output")
        };
        (Self { name: name.to_owned(), process, output: output.to_owned(), ended: None }, to, from)
    }

    /// The process itself (not the one that bounds its life); `None` once it has ended.
    pub fn pid(&self) -> Option<u32> {
        let outer = self.process.id();
        ports::wait_until(Duration::from_secs(2), || {
            let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).ok()?;
            children.split_whitespace().next()?.parse().ok()
        })
    }

    /// Sends the process a signal; not its children.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid().and_then(|pid| i32::try_from(pid).ok()) {
            // It may have ended just now.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.process.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Waits for its end; `None` if it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        ports::wait_until(limit, || self.ended())
    }

    /// What it wrote so far.
    pub fn output(&self) -> String {
        fs::read(&self.output)
            .map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until it listens there.
    ///
    /// # Panics
    ///
    /// If it ends before, or does not listen within [`ports::START_LIMIT`]; the message has its output.
    pub fn expect_listening(&mut self, address: std::net::SocketAddr) {
        let listens = ports::wait_until(ports::START_LIMIT, || {
            if ports::wait(address, Duration::ZERO) {
                return Some(true);
            }
            self.ended().map(|_| false)
        });
        assert!(listens == Some(true), "{} does not listen on {address}:\n{}", self.name, self.output());
    }

    fn group(&self) -> Option<Pid> {
        i32::try_from(self.process.id()).ok().map(Pid::from_raw)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(group) = self.group() {
            // Either call fails if nobody is left in the group.
            let _ = killpg(group, Signal::SIGTERM);
            if self.wait(GRACE).is_none() {
                let _ = killpg(group, Signal::SIGKILL);
                let _ = self.process.wait();
            }
            let _ = killpg(group, Signal::SIGKILL);
        }
        if std::thread::panicking() {
            let output = self.output();
            let start = output.ceil_char_boundary(output.len().saturating_sub(SHOWN));
            eprintln!("--- output of {} ---\n{}---", self.name, &output[start..]);
        }
    }
}

/// The same command, for as long as a process may live.
fn bounded(command: &Command) -> Command {
    let mut bounded = Command::new("timeout");
    bounded.arg("-k5").arg(LIFETIME.as_secs().to_string());
    bounded.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(key, value),
            None => bounded.env_remove(key),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        bounded.current_dir(folder);
    }
    bounded
}

/// What a command that ended by itself said and how it ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Whether its exit code was 0.
    pub success: bool,
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output and standard error together.
    pub output: String,
}

/// Runs a command to its end, with empty input; killed after `limit` (then `code` is 124 or 137).
pub fn run(command: &Command, limit: Duration) -> Ended {
    run_reading(command, Path::new("/dev/null"), limit)
}

/// As [`run`], with this file as standard input.
pub fn run_reading(command: &Command, input: &Path, limit: Duration) -> Ended {
    let input = File::open(input).unwrap_or_else(|error| panic!("{}: {error}", input.display()));
    let mut bounded = Command::new("timeout");
    bounded.arg("-k2").arg(limit.as_secs().max(1).to_string());
    bounded.arg(command.get_program()).args(command.get_args());
    bounded.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let ended = bounded
        .stdin(input)
        .output()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", command.get_program().display()));
    let mut output = String::from_utf8_lossy(&ended.stdout).into_owned();
    output.push_str(&String::from_utf8_lossy(&ended.stderr));
    Ended { success: ended.status.success(), code: ended.status.code(), output }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_process_ends_with_its_value_and_so_do_its_children() {
        let scratch = Scratch::new("child");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo $!; wait"]);
        let child = Child::spawn("sh", &command, &scratch.join("output"));
        let grandchild =
            ports::wait_until(Duration::from_secs(10), || child.output().trim().parse::<i32>().ok());
        let grandchild = Pid::from_raw(grandchild.unwrap());
        drop(child);
        let gone =
            ports::wait_until(Duration::from_secs(10), || kill(grandchild, None).is_err().then_some(()));
        assert!(gone.is_some());
    }

    #[test]
    fn a_command_that_does_not_end_is_ended() {
        let mut command = Command::new("sleep");
        command.arg("600");
        assert_eq!(run(&command, Duration::from_secs(1)).code, Some(124));
    }
}
