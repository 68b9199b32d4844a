//! `postern reports`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::received::received;
use super::{ask, order, tell};
use crate::command::{CommandLine, Exit, ReportsAction};
use crate::report::HeldReport;

/// `postern reports`
pub async fn reports(line: &CommandLine, action: &ReportsAction) -> Exit {
    let answered = match action {
        ReportsAction::List => {
            let answer = ask(line, "/api/v1/reports").await;
            answer.map(|answer| tell(line.json, &answer, |reports: Vec<HeldReport>| lines(&reports)))
        }
        ReportsAction::Accept { ids } => carry_out(line, "accept", ids).await,
        ReportsAction::Received { domains } => received(line, domains).await,
        ReportsAction::Discard { ids } => carry_out(line, "discard", ids).await,
    };
    answered.unwrap_or_else(|exit| exit)
}

/// What came of an order.
#[derive(Debug, Deserialize)]
struct Done {
    settled: usize,
}

async fn carry_out(line: &CommandLine, verb: &str, ids: &[String]) -> Result<Exit, Exit> {
    let answer = order(line, &format!("/api/v1/reports/{verb}"), &json!({ "ids": ids })).await?;
    Ok(tell(line.json, &answer, |done: Done| {
        vec![format!("{verb}: {} of {} reports", done.settled, ids.len())]
    }))
}

fn lines(reports: &[HeldReport]) -> Vec<String> {
    if reports.is_empty() {
        return vec!["no report is held".to_owned()];
    }
    reports.iter().flat_map(entry).collect()
}

fn entry(report: &HeldReport) -> [String; 2] {
    let HeldReport { id, reporter, says, transaction, at, weight, against } = report;
    let date = record::rfc3339_date(Duration::from_secs(*at));
    [
        format!("{id} {date} <{reporter}> says {says} of {transaction}"),
        format!("  {against} others say something else of messages like it; the reporter weighs {weight:.2}"),
    ]
}
