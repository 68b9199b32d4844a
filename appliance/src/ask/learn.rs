//! `postern learn`. The running Postern learns; where none runs, its model is opened and taught, and nobody else may have it
//! meanwhile.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use judge::{Class, Features, Model, Settings, Source, Transport, Whom};
use serde::Serialize;
use sift::mailbox::{self, Messages};

use super::{other_version, running};
use crate::client::{self, AskError, Running};
use crate::command::{CommandLine, Exit, Learn, LearnClass};
use crate::config;
use crate::output;
use crate::report::{LearnOrder, Lesson, Taught};
use crate::roles::Reader;

/// Folders within folders; a Maildir in a home has some three.
const MAX_DEPTH: usize = 16;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(1);

/// What is printed.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    messages: u64,
    new: u64,
    again: u64,
    corrected: u64,
}

/// Who learns.
enum Pupil {
    Running(Running),
    Alone(Box<Alone>),
}

/// The model of a Postern that does not run.
struct Alone {
    model: Model,
    reader: Reader,
    #[allow(dead_code, reason = "held as long as the model is taught, not read")]
    lock: backup::StateLock,
}

/// `postern learn`
pub async fn learn(line: &CommandLine, options: &Learn) -> Exit {
    match learn_all(line, options).await {
        Ok(outcome) if line.json => output::json(&outcome),
        Ok(outcome) => output::line(&format!(
            "{} messages: {} new, {} known already, {} known as the opposite before",
            outcome.messages, outcome.new, outcome.again, outcome.corrected
        )),
        Err(exit) => return exit,
    }
    Exit::Done
}

async fn learn_all(line: &CommandLine, options: &Learn) -> Result<Outcome, Exit> {
    let mut files = Vec::new();
    for path in &options.paths {
        collect(path, 0, &mut files).map_err(|error| unreadable(path, &error))?;
    }
    if files.is_empty() {
        output::diagnosis("there is no message in what was named");
        return Err(Exit::Wrong);
    }
    let mut teacher = Teacher {
        line,
        class: options.class,
        pupil: Pupil::Running(running(line)?),
        outcome: Outcome::default(),
        told: now(),
        shown: false,
    };
    for file in &files {
        for message in messages(file).map_err(|error| unreadable(file, &error))? {
            teacher.teach(&message.map_err(|error| unreadable(file, &error))?).await?;
        }
    }
    teacher.end()
}

struct Teacher<'a> {
    line: &'a CommandLine,
    class: LearnClass,
    pupil: Pupil,
    outcome: Outcome,
    told: Instant,
    /// Progress stands on the screen.
    shown: bool,
}

impl Teacher<'_> {
    async fn teach(&mut self, message: &[u8]) -> Result<(), Exit> {
        let lesson = loop {
            match &mut self.pupil {
                Pupil::Running(running) => match ask(running, self.class, message).await? {
                    Some(lesson) => break lesson,
                    None => self.pupil = self.put_away()?,
                },
                Pupil::Alone(alone) => break alone.teach(self.class, message).await?,
            }
        };
        let outcome = &mut self.outcome;
        outcome.messages += 1;
        match lesson {
            Lesson::New => outcome.new += 1,
            Lesson::Again => outcome.again += 1,
            Lesson::Corrected => outcome.corrected += 1,
        }
        if self.told.elapsed() > PROGRESS {
            (self.told, self.shown) = (now(), true);
            let _ = write!(io::stderr().lock(), "\r{} messages", outcome.messages);
        }
        Ok(())
    }

    /// The model of a Postern that does not run.
    fn put_away(&self) -> Result<Pupil, Exit> {
        let wrong = |why: String| {
            output::diagnosis(&why);
            Exit::Wrong
        };
        let config = config::load(&self.line.config_file()).map_err(|error| wrong(error.to_string()))?;
        let lock = crate::engine::state_lock(&config.state_dir).map_err(|error| wrong(error.to_string()))?;
        let folder = config.state_dir.join("model");
        let opened = Model::open(&folder, Settings::default(), super::now());
        let (model, _) = opened.map_err(|error| {
            output::diagnosis(&format!("{}: {error}", folder.display()));
            Exit::Unreachable
        })?;
        let reader = Reader::new(&config.state_dir).map_err(super::not_read)?;
        output::diagnosis("Postern does not run: its model is taught where it lies.");
        Ok(Pupil::Alone(Box::new(Alone { model, reader, lock })))
    }

    fn end(self) -> Result<Outcome, Exit> {
        if self.shown {
            let _ = writeln!(io::stderr().lock(), "\r{} messages", self.outcome.messages);
        }
        if let Pupil::Alone(alone) = &self.pupil {
            let (model, now) = (&alone.model, super::now());
            let written = model.tick(now).and_then(|()| model.snapshot(now));
            written.map_err(|error| {
                output::diagnosis(&error.to_string());
                Exit::Unreachable
            })?;
        }
        Ok(self.outcome)
    }
}

/// Asks the running Postern; `None` if there is none.
async fn ask(running: &Running, class: LearnClass, message: &[u8]) -> Result<Option<Lesson>, Exit> {
    let order = LearnOrder { message: STANDARD.encode(message) };
    let order = serde_json::to_value(&order).map_err(|error| other_version(&error))?;
    let class = match class {
        LearnClass::Spam => "spam",
        LearnClass::Ham => "ham",
    };
    match client::post(running, &format!("/api/v1/learn/{class}"), &order).await {
        Ok(answer) if answer.status == 200 => {
            let taught: Taught =
                serde_json::from_slice(&answer.body).map_err(|error| other_version(&error))?;
            Ok(Some(taught.learnt))
        }
        Ok(answer) => Err(super::tell(false, &answer, |_: Taught| Vec::new())),
        Err(AskError::Unreachable { .. }) => Ok(None),
        Err(error) => {
            output::diagnosis(&error.to_string());
            Err(Exit::Unreachable)
        }
    }
}

impl Alone {
    async fn teach(&mut self, class: LearnClass, message: &[u8]) -> Result<Lesson, Exit> {
        let content = self.reader.read(message).await.map_err(super::not_read)?;
        let features = Features::of(&content, &Transport::default());
        let class = match class {
            LearnClass::Spam => Class::Spam,
            LearnClass::Ham => Class::Ham,
        };
        let (source, whom, now) = (Source::Administrator, Whom::default(), super::now());
        let lesson = judge::Lesson { features: &features, class, source, weight: 1.0, whom, now };
        let learnt = self.model.learn(&lesson).map_err(|error| {
            output::diagnosis(&error.to_string());
            Exit::Unreachable
        })?;
        Ok(learnt.into())
    }
}

/// The files below a path, in the order of their names; what begins with a dot is no message, but for the folders of a Maildir.
fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    if depth == MAX_DEPTH {
        return Err(io::Error::other("its folders are nested too deeply"));
    }
    // What is still being written to a Maildir lies in `tmp`.
    let is_maildir = ["cur", "new"].iter().all(|name| path.join(name).is_dir());
    let mut entries: Vec<_> = fs::read_dir(path)?.collect::<io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (name, is_folder) = (entry.file_name(), entry.file_type()?.is_dir());
        let hidden = name.as_encoded_bytes().starts_with(b".");
        let belongs = match (is_folder, is_maildir) {
            (true, true) => name != "tmp",
            (true, false) => !hidden,
            // Dovecot's and Courier's own files lie beside `cur` and `new`.
            (false, true) => false,
            (false, false) => !hidden && entry.file_type()?.is_file(),
        };
        if belongs {
            collect(&entry.path(), depth + 1, files)?;
        }
    }
    Ok(())
}

/// The messages of a file.
fn messages(file: &Path) -> io::Result<Box<dyn Iterator<Item = io::Result<Vec<u8>>> + Send>> {
    let mut reader = BufReader::new(File::open(file)?);
    if mailbox::is_mbox(reader.fill_buf()?) {
        return Ok(Box::new(Messages::new(reader)));
    }
    let most = u64::try_from(mailbox::MAX_MESSAGE).unwrap_or(u64::MAX);
    let mut message = Vec::new();
    reader.take(most).read_to_end(&mut message)?;
    Ok(Box::new(std::iter::once(Ok(message))))
}

fn unreadable(path: &Path, error: &io::Error) -> Exit {
    output::diagnosis(&format!("{}: {error}", path.display()));
    Exit::Unreachable
}

#[allow(
    clippy::disallowed_methods,
    reason = "progress for a person: nothing here runs under a simulated clock"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &Path) -> Vec<String> {
        let mut files = Vec::new();
        collect(path, 0, &mut files).unwrap();
        let all = files.iter().flat_map(|file| messages(file).unwrap());
        all.map(|message| String::from_utf8(message.unwrap()).unwrap()).collect()
    }

    #[test]
    fn maildirs_mboxes_folders_and_files_give_their_messages_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        for folder in
            ["Maildir/cur", "Maildir/new", "Maildir/tmp", "Maildir/.Junk/cur", "Maildir/.Junk/new", "mails"]
        {
            fs::create_dir_all(path(folder)).unwrap();
        }
        for (name, text) in [
            ("Maildir/cur/1:2,S", "seen"),
            ("Maildir/new/2", "unseen"),
            ("Maildir/tmp/3", "unfinished"),
            ("Maildir/dovecot-uidlist", "no mail"),
            ("Maildir/.Junk/cur/4:2,", "junk"),
            ("mails/a.eml", "one"),
            ("mails/.hidden", "no mail"),
            ("mbox", "From a@b Mon 10:00\nfirst\n\nFrom a@b Mon 11:00\nsecond\n"),
        ] {
            fs::write(path(name), text).unwrap();
        }
        assert_eq!(found(&path("Maildir")), ["junk", "seen", "unseen"]);
        assert_eq!(found(&path("mails")), ["one"]);
        assert_eq!(found(&path("mbox")), ["first\n\n", "second\n"]);
        assert_eq!(found(&path("mails/a.eml")), ["one"]);
        assert!(collect(&path("missing"), 0, &mut Vec::new()).is_err());
    }
}
