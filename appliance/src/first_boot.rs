//! `postern first-boot`: takes a seed and puts its settings in place (docs/first-boot.md). The crate `first_boot` does it; here the
//! appliance's own reader of configs is handed to it, and told what came of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ::first_boot::{Accepted, Complaint, FirstBootError, Report, Settings, Weight};

use crate::command::{DEFAULT_CONFIG, Exit, FirstBootStep};
use crate::config::{self, ConfigError, Problem};
use crate::output;

/// Tells systemd-networkd that there are new files, by process 1 and a signal: the appliance has no message bus.
const SYSTEMCTL: &str = "/usr/bin/systemctl";
const RELOAD: [&str; 2] = ["reload", "systemd-networkd.service"];
/// It answers in milliseconds; the boot does not wait for it longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// `postern first-boot local|network`: 0 if everything is in place, whatever became of the seed; 3 if it cannot be.
pub async fn first_boot(step: FirstBootStep, root: Option<PathBuf>, json: bool) -> Exit {
    let settings = Settings::new(root.unwrap_or_else(|| "/".into()));
    let outcome = match step {
        FirstBootStep::Local => ::first_boot::local(&settings, &validate),
        FirstBootStep::Network => ::first_boot::network(&settings, &validate).await,
    };
    match outcome {
        Ok(report) => {
            if report.changed && settings.is_real() {
                reload().await;
            }
            tell(&report, json);
            Exit::Done
        }
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &FirstBootError) -> Exit {
    output::diagnosis(&error.to_string());
    Exit::Unreachable
}

fn tell(report: &Report, json: bool) {
    if json {
        return output::json(report);
    }
    output::line(&report.line);
    for note in &report.notes {
        match note.weight {
            Weight::Refused => output::diagnosis(&note.to_string()),
            Weight::Done | Weight::Ignored => output::line(&note.to_string()),
        }
    }
}

/// As `postern check` reads it. Paths in it start where it will be.
fn validate(text: &str) -> Result<Accepted, Vec<Complaint>> {
    match config::parse(text, Path::new(DEFAULT_CONFIG)) {
        Ok(config) => Ok(Accepted { hostname: config.hostname.to_string() }),
        Err(ConfigError::Wrong(problems)) => Err(problems.into_iter().map(complaint).collect()),
        Err(error @ ConfigError::Unreadable { .. }) => {
            Err(vec![Complaint { line: 1, column: 1, key: String::new(), words: error.to_string() }])
        }
    }
}

fn complaint(problem: Problem) -> Complaint {
    let Problem { line, column, key, wrong, expected, nearest, .. } = problem;
    let nearest = nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
    Complaint { line, column, key, words: format!("{wrong}; expected {expected}{nearest}") }
}

async fn reload() {
    let run = || {
        Command::new(SYSTEMCTL).args(RELOAD).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).status()
    };
    let ran = tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(run)).await;
    let problem = match ran {
        Ok(Ok(Ok(status))) if status.success() => return,
        Ok(Ok(Ok(status))) => status.to_string(),
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(_)) | Err(_) => "does not end".to_owned(),
    };
    output::diagnosis(&format!(
        "{SYSTEMCTL} {}: {problem}; the network is new after a restart",
        RELOAD.join(" ")
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_config_is_refused_in_the_words_of_check_and_a_good_one_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let volume = root.path().join("dev/disk/by-label/CIDATA");
        std::fs::create_dir_all(&volume).unwrap();
        let settings = Settings::new(root.path());
        let boot = |user_data: &str| {
            std::fs::write(volume.join("user-data"), user_data).unwrap();
            ::first_boot::local(&settings, &validate).unwrap()
        };
        let whole = "[[backend]]\ndomains = [\"example.net\"]\nservers = [\"10.0.0.10\"]\n";
        let report = boot(&format!("hostname = \"mx1.example.net\"\n{whole}tsl = \"verify\"\n"));
        let refused: Vec<&str> = report
            .notes
            .iter()
            .filter(|note| note.weight == Weight::Refused)
            .map(|note| note.words.as_str())
            .collect();
        assert!(
            refused[0].starts_with("user-data:5:1: backend[0].tsl: is no key here; expected one of"),
            "{refused:?}"
        );
        assert!(refused[0].ends_with("did you mean `tls`?") && !report.has_config, "{refused:?}");
        let block = "#cloud-config\nfqdn: mx1.example.net\npostern:\n  backend:\n  - domains: [example.net]\n    servers: [10.0.0.10]\n    \
                     tls: never\n";
        let report = boot(block);
        let words = &report.notes.iter().find(|note| note.weight == Weight::Refused).unwrap().words;
        assert!(words.starts_with("user-data:7:10: postern.backend[0].tls: cannot be `never`"), "{words}");
        let report = boot(&block.replace("never", "encrypt"));
        assert!(report.has_config, "{report:?}");
        let stored = root.path().join("var/lib/postern-settings/postern.toml");
        let config = config::load(&stored).unwrap();
        assert_eq!((config.hostname.as_str(), config.backends.len()), ("mx1.example.net", 1));
    }
}
