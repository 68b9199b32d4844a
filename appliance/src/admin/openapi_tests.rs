//! The API's description says what there is, and nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

use super::access_tests::{House, access, status};
use super::routes::{self, EVENTS};
use super::tests::{FINE, desk};

async fn document(house: &House) -> Value {
    let answer = house.get("", "/api/v1/openapi.json").await;
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// Paths and methods of the document, each with what is said of it.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, methods): (&String, &'static str)| (path.clone(), methods);
    let mut found = Vec::new();
    for (path, methods) in paths {
        for method in ["get", "post"] {
            if let Some(operation) = methods.get(method) {
                let (path, method) = of((path, method));
                found.push((format!("{} {path}", method.to_uppercase()), operation));
            }
        }
        assert!(methods.as_object().unwrap().len() <= 2, "{path}");
    }
    found
}

#[tokio::test]
async fn each_path_of_the_api_is_described_and_what_is_described_is_there() {
    let house = House::new().await;
    let document = document(&house).await;
    let folder = tempfile::tempdir().unwrap();
    let (_, desk) = desk(FINE, false, access(&folder)).await;
    let (_, table) = routes::all(&desk);
    let is_of_api = |path: &str| path.starts_with("/api/");
    let known: BTreeSet<String> = table
        .iter()
        .filter(|route| is_of_api(route.path))
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    let described: BTreeSet<String> =
        operations(&document).into_iter().map(|(operation, _)| operation).collect();
    assert_eq!(described, known);
    let ids: BTreeSet<&str> = operations(&document)
        .iter()
        .map(|(_, operation)| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), described.len(), "each has a name of its own");
}

/// Every `$ref` in it.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_refers_to_what_is_in_it_and_says_what_each_answer_is() {
    let house = House::new().await;
    let document = document(&house).await;
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.contains("#/components/schemas/TransactionStory"), "{found:?}");
    for reference in found {
        assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }
    for (operation, told) in operations(&document) {
        let answer = &told["responses"]["200"]["content"];
        let media_type = if operation.ends_with(EVENTS) { "text/event-stream" } else { "application/json" };
        assert!(answer[media_type]["schema"].is_object(), "{operation}: {told}");
        assert!(told["summary"].as_str().is_some_and(|words| words.ends_with('.')), "{operation}");
        let needs_login = !told["security"].as_array().unwrap().is_empty();
        assert_eq!(told["responses"]["401"].is_object(), needs_login, "{operation}");
        assert_eq!(needs_login, !operation.ends_with("/openapi.json"), "{operation}");
        // A type of null, which is none, ends readers of such documents.
        let mut parameters = told["parameters"].as_array().into_iter().flatten();
        assert!(parameters.all(|one| one["schema"].get("type") != Some(&Value::Null)), "{operation}: {told}");
    }
    let story = &document["components"]["schemas"]["TransactionStory"];
    assert!(
        story["properties"]["reply"]["description"].is_string(),
        "docs of the code are docs here: {story}"
    );
}

#[tokio::test]
async fn each_order_that_is_described_is_known_and_others_are_not() {
    let house = House::new().await;
    let bearer = house.administers().await;
    let document = document(&house).await;
    let mut looked = 0;
    for (operation, told) in operations(&document) {
        let Some(path) = operation.strip_prefix("POST ") else { continue };
        let parameters = told["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        let Some(parameter) = parameters.iter().find(|one| one["in"] == "path") else { continue };
        let (before, _) = path.split_once('{').unwrap();
        // A domain's orders are told in the body, where the schema has them.
        let Some(verbs) = parameter["schema"]["enum"].as_array() else {
            assert!(told["requestBody"].to_string().contains("\"add\""), "{told}");
            continue;
        };
        let verbs: Vec<&str> = verbs.iter().map(|verb| verb.as_str().unwrap()).collect();
        for verb in verbs.iter().chain(&["nonsense"]) {
            // With everything that any of them may want.
            let body = match before {
                "/api/v1/learn/" => r#"{"message":"eA=="}"#,
                "/api/v1/block/" => r#"{"entries":["spam.example"]}"#,
                "/api/v1/senders/" => r#"{"sender":"ann@example.net"}"#,
                "/api/v1/config/" => r#"{"base":"x","text":"x"}"#,
                "/api/v1/users/" => r#"{"name":"bob","role":"viewer"}"#,
                "/api/v1/tokens/" => r#"{"name":"bob","scopes":["read"],"id":"x"}"#,
                _ => r#"{"ids":["00c0ffee"]}"#,
            };
            let answer = house.order(&bearer, &format!("{before}{verb}"), body).await;
            let is_unknown = answer.contains("an order is") || answer.contains("is learnt as");
            assert_eq!(is_unknown, *verb == "nonsense", "{before}{verb}: {answer}");
            looked += 1;
        }
    }
    assert!(looked > 20, "{looked}");
}

#[tokio::test]
async fn programs_are_told_why_not_in_json_whoever_says_it() {
    let house = House::new().await;
    let bearer = house.administers().await;
    let words = |answer: &str| {
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let told: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        told["error"].as_str().unwrap().to_owned()
    };
    let path = "/api/v1/queue/hold";
    for (answer, code) in [
        (house.get(&bearer, "/api/v1/queue?last=many").await, 400),
        (house.get(&bearer, "/api/v1/dns?verify=perhaps").await, 400),
        (house.get(&bearer, "/api/v1/queue/%FF").await, 400),
        (house.order(&bearer, path, "{").await, 400),
        (house.order(&bearer, path, r#"{"all":"x"}"#).await, 422),
        (house.post(&bearer, path, "text/plain", "x").await, 415),
        (house.get(&bearer, "/api/v1/users/add").await, 405),
        (house.get(&bearer, "/api/v1/nothing").await, 404),
        (house.get("", "/api/v1/status").await, 401),
    ] {
        assert_eq!(status(&answer), code, "{answer}");
        assert!(
            answer.contains("content-type: application/json\r\n") && !words(&answer).is_empty(),
            "{answer}"
        );
    }
    assert!(house.get(&bearer, "/api/v1/users/add").await.contains("allow: POST\r\n"));
}
