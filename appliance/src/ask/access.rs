//! `postern users`, `postern tokens` and `postern audit`.

use std::time::Duration;

use serde_json::json;

use super::{ask, order, tell};
use crate::access::trail::Entry;
use crate::access::{TokenState, UserState};
use crate::admin::{TokenDone, UserDone};
use crate::command::{AuditList, CommandLine, Exit, TokensAction, UserWithRole, UsersAction};

/// `postern users`
pub async fn users(line: &CommandLine, action: &UsersAction) -> Exit {
    let with_role =
        |user: &UserWithRole| json!({ "name": user.name, "role": user.role.name(), "domains": user.domains });
    let (verb, sent) = match action {
        UsersAction::List => {
            return match ask(line, "/api/v1/users").await {
                Ok(answer) => {
                    tell(line.json, &answer, |users: Vec<UserState>| users.iter().map(user).collect())
                }
                Err(exit) => exit,
            };
        }
        UsersAction::Code => ("code", json!({})),
        UsersAction::Add(user) => ("add", with_role(user)),
        UsersAction::Role(user) => ("role", with_role(user)),
        UsersAction::Passwd { name } => ("passwd", json!({ "name": name })),
        UsersAction::Totp { name } => ("totp", json!({ "name": name })),
        UsersAction::Passkeys { name } => ("passkeys", json!({ "name": name })),
        UsersAction::Remove { name } => ("remove", json!({ "name": name })),
    };
    match order(line, &format!("/api/v1/users/{verb}"), &sent).await {
        Ok(answer) => tell(line.json, &answer, |done: UserDone| came_of_it(&done)),
        Err(exit) => exit,
    }
}

fn came_of_it(done: &UserDone) -> Vec<String> {
    let Some(code) = &done.code else { return vec!["done".to_owned()] };
    let whom = done.name.as_deref().unwrap_or("a new administrator");
    let until = done.until.map_or_else(|| "it is used".to_owned(), date);
    vec![code.clone(), format!("  for {whom}, on the page at /first, until {until}")]
}

fn user(user: &UserState) -> String {
    let domains =
        if user.domains.is_empty() { String::new() } else { format!(" of {}", user.domains.join(", ")) };
    let password = match (user.has_password, user.invited_until) {
        (true, _) => String::new(),
        (false, Some(until)) => format!("; has a code until {} and no password yet", date(until)),
        (false, None) => "; has no password".to_owned(),
    };
    let factor = if user.has_totp { "with a second factor" } else { "without a second factor" };
    let passkeys = match user.passkeys {
        0 => String::new(),
        passkeys => format!("; passkeys: {passkeys}"),
    };
    let last = user
        .last_login
        .map_or_else(|| "has not logged in".to_owned(), |at| format!("last login {}", date(at)));
    format!("{}  {}{domains}; {factor}{passkeys}; {last}{password}", user.name, user.role)
}

/// `postern tokens`
pub async fn tokens(line: &CommandLine, action: &TokensAction) -> Exit {
    let (verb, sent) = match action {
        TokensAction::List => {
            return match ask(line, "/api/v1/tokens").await {
                Ok(answer) => {
                    tell(line.json, &answer, |tokens: Vec<TokenState>| tokens.iter().map(token).collect())
                }
                Err(exit) => exit,
            };
        }
        TokensAction::Add { name, scopes, domains, days } => {
            ("add", json!({ "name": name, "scopes": scopes, "domains": domains, "days": days }))
        }
        TokensAction::Remove { id } => ("remove", json!({ "id": id })),
    };
    match order(line, &format!("/api/v1/tokens/{verb}"), &sent).await {
        Ok(answer) => tell(line.json, &answer, |done: TokenDone| {
            vec![done.secret.unwrap_or_else(|| format!("{} is removed", done.name))]
        }),
        Err(exit) => exit,
    }
}

fn token(token: &TokenState) -> String {
    let domains =
        if token.domains.is_empty() { String::new() } else { format!(" for {}", token.domains.join(", ")) };
    let owner = token.owner.as_deref().unwrap_or("the command line");
    let until = token.until.map_or_else(|| "it is removed".to_owned(), date);
    let used = token.last_use.map_or_else(|| "never used".to_owned(), |at| format!("last used {}", date(at)));
    format!(
        "{}  {}: {}{domains}; of {owner}; until {until}; {used}",
        token.id,
        token.name,
        token.scopes.join(", ")
    )
}

/// `postern audit`
pub async fn audit(line: &CommandLine, wanted: &AuditList) -> Exit {
    let last = wanted.last.map_or_else(String::new, |last| format!("?last={last}"));
    match ask(line, &format!("/api/v1/audit{last}")).await {
        Ok(answer) => tell(line.json, &answer, |entries: Vec<Entry>| entries.iter().map(change).collect()),
        Err(exit) => exit,
    }
}

fn change(entry: &Entry) -> String {
    let from = if entry.from.is_empty() { String::new() } else { format!(" from {}", entry.from) };
    format!("{}  {}{from}: {}  {}", date(entry.at), entry.who, entry.what, entry.about).trim_end().to_owned()
}

fn date(since_1970: u64) -> String {
    record::rfc3339_date(Duration::from_secs(since_1970)).replace(".000Z", "Z")
}
