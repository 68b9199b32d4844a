//! `postern scan`. The running Postern is asked; where none runs, the model is read as it was last put away.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use judge::{Check, Features, Model, Settings, Thresholds, Transport, Verdict, Whom};
use serde::Serialize;
use sift::Content;
use smtp::ReversePath;

use super::{other_version, running};
use crate::client::{self, AskError, Running};
use crate::command::{CommandLine, DEFAULT_CONFIG, Exit, Scan};
use crate::config;
use crate::engine::Peers;
use crate::output;
use crate::report::{ScanOrder, Scanned, Share};
use crate::roles::Reader;

/// Octets of a message that are read: what is larger is judged by its beginning, as in a session.
const MAX_MESSAGE: u64 = 8 << 20;

/// What is told of one file.
#[derive(Debug, Serialize)]
struct Told {
    file: String,
    #[serde(flatten)]
    scanned: Scanned,
}

/// Who judges.
enum Judge {
    Running(Running),
    Alone(Box<Alone>),
}

/// What there is without a running Postern.
struct Alone {
    model: Model,
    reader: Reader,
    thresholds: Thresholds,
    allow: Peers,
    block: Peers,
}

/// `postern scan`
pub async fn scan(line: &CommandLine, options: &Scan) -> Exit {
    match scan_all(line, options).await {
        Ok(told) => {
            if line.json {
                output::json(&told);
            } else {
                told.iter().flat_map(words).for_each(|text| output::line(&text));
            }
            let bound = options.fail_on;
            // A verdict that this version does not know is worse than all others.
            let bad = |told: &Told| {
                let verdict = Verdict::named(&told.scanned.verdict);
                bound.is_some_and(|bound| verdict.is_none_or(|verdict| verdict >= bound))
            };
            if told.iter().any(bad) { Exit::No } else { Exit::Done }
        }
        Err(exit) => exit,
    }
}

async fn scan_all(line: &CommandLine, options: &Scan) -> Result<Vec<Told>, Exit> {
    let running = running(line)?;
    let mut judge = Judge::Running(running);
    let mut told = Vec::new();
    for file in &options.files {
        let message = read(file)?;
        let scanned = loop {
            match &mut judge {
                Judge::Running(running) => match ask(running, &message, options).await {
                    Ok(scanned) => break scanned,
                    Err(Asked::NobodyThere) => judge = put_away(line)?,
                    Err(Asked::Said(exit)) => return Err(exit),
                },
                Judge::Alone(alone) => break alone.judge(&message, options).await?,
            }
        };
        told.push(Told { file: file.display().to_string(), scanned });
    }
    Ok(told)
}

fn read(file: &Path) -> Result<Vec<u8>, Exit> {
    let mut message = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(MAX_MESSAGE).read_to_end(&mut message)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(MAX_MESSAGE).read_to_end(&mut message))
    };
    read.map_err(|error| {
        output::diagnosis(&format!("{}: {error}", file.display()));
        Exit::Unreachable
    })?;
    Ok(message)
}

enum Asked {
    /// Nothing listens: what it would say has to be found out without it.
    NobodyThere,
    Said(Exit),
}

async fn ask(running: &Running, message: &[u8], options: &Scan) -> Result<Scanned, Asked> {
    let order = ScanOrder {
        message: STANDARD.encode(message),
        from: options.from.clone(),
        to: options.to.clone(),
        ip: options.ip,
        helo: options.helo.clone(),
        explain: options.explain,
    };
    let order = serde_json::to_value(&order).map_err(|error| Asked::Said(other_version(&error)))?;
    let answer = match client::post(running, "/api/v1/scan", &order).await {
        Ok(answer) => answer,
        Err(AskError::Unreachable { .. }) => return Err(Asked::NobodyThere),
        Err(error) => {
            output::diagnosis(&error.to_string());
            return Err(Asked::Said(Exit::Unreachable));
        }
    };
    if answer.status != 200 {
        return Err(Asked::Said(super::tell(false, &answer, |_: Scanned| Vec::new())));
    }
    serde_json::from_slice(&answer.body).map_err(|error| Asked::Said(other_version(&error)))
}

/// The model of a Postern that does not run, and what its config says.
fn put_away(line: &CommandLine) -> Result<Judge, Exit> {
    let file = line.config_file();
    let nobody = Peers::default;
    let (state_dir, thresholds, allow, block) = if line.config.is_none()
        && !Path::new(DEFAULT_CONFIG).exists()
    {
        (None, Thresholds::default(), nobody(), nobody())
    } else {
        let config = config::load(&file).map_err(|error| {
            output::diagnosis(&error.to_string());
            Exit::Wrong
        })?;
        let judge = &config.judge;
        let thresholds = Thresholds { tag: judge.tag, quarantine: judge.quarantine, reject: judge.reject };
        let (allow, block) = (Peers::new(&judge.allow), Peers::new(&judge.block));
        (Some(config.state_dir), thresholds, allow, block)
    };
    let model = open(state_dir.as_deref())?;
    let reader = Reader::new(&state_dir.unwrap_or_default()).map_err(super::not_read)?;
    let learned = model.learned();
    output::diagnosis(&format!(
        "Postern does not run: judged by its model alone ({:.0} ham and {:.0} spam learnt). Neither the DNS nor its lists nor a \
         scanner was asked, nor who was blocked from the quarantine; an allowed sender is one by its network alone.",
        learned.ham, learned.spam
    ));
    Ok(Judge::Alone(Box::new(Alone { model, reader, thresholds, allow, block })))
}

fn open(state_dir: Option<&Path>) -> Result<Model, Exit> {
    let Some(folder) = state_dir.map(|folder| folder.join("model")) else {
        return Ok(Model::in_memory(Settings::default()));
    };
    Model::consult(&folder, Settings::default(), super::now()).map_err(|error| {
        output::diagnosis(&format!("{}: {error}", folder.display()));
        Exit::Unreachable
    })
}

impl Alone {
    async fn judge(&mut self, message: &[u8], options: &Scan) -> Result<Scanned, Exit> {
        let content = self.reader.read(message).await.map_err(super::not_read)?;
        let transport = Transport {
            helo: &options.helo,
            reverse_path: &options.from,
            envelope: !options.from.is_empty(),
            ..Transport::default()
        };
        let features = Features::of(&content, &transport);
        let (whom, now) = (Whom::default(), super::now());
        let score = self.model.score(&features, whom, now);
        let gtube = content.oddities.gtube.then(|| Check::demanding("gtube", "found", Verdict::Reject));
        let checks: Vec<Check> = gtube.into_iter().chain(self.listed(&content, options)?).collect();
        let weighed = judge::judge(Some(&score), &checks, &self.thresholds);
        let why =
            options.explain.then(|| self.model.explain(&features, whom, &checks, &self.thresholds, now));
        Ok(Scanned::of(&weighed, Vec::new(), why))
    }

    /// What the config says of who sends.
    fn listed(&self, content: &Content, options: &Scan) -> Result<Option<Check>, Exit> {
        let sender = match options.from.as_str() {
            "" => ReversePath::Null,
            from => ReversePath::Mailbox(from.parse().map_err(|_| {
                output::diagnosis(&format!("{from}: no mail address"));
                Exit::Wrong
            })?),
        };
        let client = options.ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let author = content.from.first().map_or("", |author| author.mailbox.as_str());
        let blocked = self.block.names(client, &sender, author);
        let blocked = blocked.map(|entry| Check::demanding("block", entry, Verdict::Reject));
        // Who writes an address proves nothing by it.
        let allowed = || self.allow.network_of(client);
        Ok(blocked.or_else(|| allowed().map(|entry| Check::demanding("allow", entry, Verdict::Pass))))
    }
}

fn words(told: &Told) -> Vec<String> {
    let Told { file, scanned } = told;
    let mut lines =
        vec![format!("{file}: {} (spam probability {:.4})", scanned.verdict, scanned.spam_probability)];
    let check = |name: &str, result: &str, weight: f64| format!("    {weight:+7.2}  {name}: {result}");
    lines.extend(scanned.checks.iter().map(|one| check(&one.name, &one.result, one.weight)));
    lines.extend(scanned.trouble.iter().map(|why| format!("    not found out: {why}")));
    if let Some(why) = &scanned.explanation {
        let share = |share: &Share| format!("    {:+7.2}  {}", share.weight, share.text);
        for (title, shares) in
            [("members", &why.members), ("words", &why.words), ("sequences", &why.sequences)]
        {
            if !shares.is_empty() {
                lines.push(format!("  {title}"));
                lines.extend(shares.iter().map(share));
            }
        }
        lines.extend(why.otherwise.iter().map(|other| format!("  {}: {}", other.verdict, other.because)));
    }
    lines
}
