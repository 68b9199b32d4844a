//! The API, described by itself: an OpenAPI document (3.1.1) that is made from the table of paths and from the types that their
//! handlers take and give, so that it cannot say anything else than what is so.

use std::future::Future;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::asked::Pairs;
use super::desk::Desk;
use super::events::{self, Events};
use super::lookup::Listed;
use super::routes::Route;
use crate::access::Needs;
use crate::report::TransactionStory;

/// What a path is for, and what stands in its place for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct About {
    /// In a sentence.
    pub(super) words: &'static str,
    /// All that the part in braces can be; empty: it is an identifier.
    pub(super) one_of: &'static [&'static str],
}

impl From<&'static str> for About {
    fn from(words: &'static str) -> Self {
        Self { words, one_of: &[] }
    }
}

impl From<(&'static str, &'static [&'static str])> for About {
    fn from((words, one_of): (&'static str, &'static [&'static str])) -> Self {
        Self { words, one_of }
    }
}

/// The document as it grows.
pub(super) struct Book {
    paths: Map<String, Value>,
    /// Schemas of what is sent: complete each, as some types are sent and answered with and differ in what may be left out.
    asked: SchemaGenerator,
    /// Schemas of answers, each told once.
    answers: SchemaGenerator,
}

/// One path and method, as far as its handler's types tell.
#[derive(Debug, Default)]
pub(super) struct Operation {
    parameters: Vec<Value>,
    body: Option<Value>,
    answer: Value,
}

/// What a handler takes.
pub(super) trait Taken {
    /// Writes it down.
    fn describe(book: &mut Book, operation: &mut Operation);
}

/// What a handler gives.
pub(super) trait Given {
    /// The answer of status 200.
    fn answer(book: &mut Book) -> Value;
}

/// A handler whose types tell what it takes and gives.
pub(super) trait Described<Inputs> {
    /// Writes it down.
    fn describe(&self, book: &mut Book) -> Operation;
}

macro_rules! described {
    ($($input:ident),*) => {
        impl<F, Answering, Output, $($input: Taken),*> Described<($($input,)*)> for F
        where
            F: Fn($($input),*) -> Answering,
            Answering: Future<Output = Output>,
            Output: Given,
        {
            fn describe(&self, book: &mut Book) -> Operation {
                let mut operation = Operation::default();
                $($input::describe(book, &mut operation);)*
                operation.answer = Output::answer(book);
                operation
            }
        }
    };
}
described!();
described!(A);
described!(A, B);
described!(A, B, C);

impl Taken for State<Arc<Desk>> {
    fn describe(_: &mut Book, _: &mut Operation) {}
}

impl Taken for HeaderMap {
    fn describe(_: &mut Book, _: &mut Operation) {}
}

impl Taken for Path<String> {
    // The table has its name.
    fn describe(_: &mut Book, _: &mut Operation) {}
}

impl<T: JsonSchema> Taken for Query<T> {
    fn describe(book: &mut Book, operation: &mut Operation) {
        let schema = book.asked.subschema_for::<T>().to_value();
        operation.parameters.extend(parameters(&schema));
    }
}

impl<T: JsonSchema> Taken for Pairs<T> {
    fn describe(book: &mut Book, operation: &mut Operation) {
        Query::<T>::describe(book, operation);
    }
}

impl<T: JsonSchema> Taken for Json<T> {
    fn describe(book: &mut Book, operation: &mut Operation) {
        let schema = book.asked.subschema_for::<T>();
        operation.body =
            Some(json!({ "required": true, "content": { "application/json": { "schema": schema } } }));
    }
}

impl<T: JsonSchema> Given for Json<T> {
    fn answer(book: &mut Book) -> Value {
        content("application/json", &book.answers.subschema_for::<T>())
    }
}

impl<T: JsonSchema> Given for Listed<T> {
    fn answer(book: &mut Book) -> Value {
        let mut answer = content("application/json", &book.answers.subschema_for::<Vec<T>>());
        let words = "Where the list goes on, as `<...>; rel=\"next\"` (RFC 8288).";
        answer["headers"] = json!({ "Link": { "description": words, "schema": { "type": "string" } } });
        answer
    }
}

impl Given for Events {
    fn answer(book: &mut Book) -> Value {
        let words = "Server-sent events. The data of each is JSON; of which kind, `x-events` tells by the event's name.";
        let mut answer = json!({ "description": words });
        answer["content"] = json!({ "text/event-stream": { "schema": { "type": "string" } } });
        answer["x-events"] = json!({
            "message": book.answers.subschema_for::<TransactionStory>(),
            "afterwards": book.answers.subschema_for::<events::Afterwards>(),
            "state": book.answers.subschema_for::<events::Now>(),
            "alert": book.answers.subschema_for::<events::Alert>(),
            "more": book.answers.subschema_for::<events::More>(),
        });
        answer
    }
}

impl<T: Given, E> Given for Result<T, E> {
    fn answer(book: &mut Book) -> Value {
        T::answer(book)
    }
}

fn content(media_type: &str, schema: &Schema) -> Value {
    json!({ "description": "It is done.", "content": { media_type: { "schema": schema } } })
}

/// The fields of a struct, as they come behind the `?`.
fn parameters(schema: &Value) -> Vec<Value> {
    let Some(fields) = schema["properties"].as_object() else { return Vec::new() };
    let required =
        |name: &String| schema["required"].as_array().is_some_and(|all| all.contains(&json!(name)));
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let words = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        // What is not asked for is left out: there is no way to write null.
        if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
            types.retain(|one| one != "null");
        }
        let mut one = json!({ "in": "query", "name": name, "required": required(name), "schema": schema });
        if let Some(words) = words {
            one["description"] = words;
        }
        one
    };
    fields.iter().map(parameter).collect()
}

/// What is said of a status, and when a path may answer with it.
const REFUSALS: [(u16, &str); 12] = [
    (400, "What was sent is not understood."),
    (401, "Nobody has logged in, and no token was sent that counts."),
    (403, "It is not for this user or token to see or to do, or a browser was sent by another site."),
    (404, "There is no such thing, or it is not for this user or token to see."),
    (409, "It cannot be done as things are; the words say why."),
    (413, "That is more than there can be."),
    (415, "An order is JSON, with its `Content-Type`."),
    (421, "The request is for another server: `Host` does not name this one."),
    (422, "The JSON has not the fields that it must have, or they make no sense."),
    (429, "Too much at a time; later again."),
    (500, "It went wrong here; the log says why."),
    (503, "It cannot be done now; later again."),
];

impl Book {
    pub(super) fn new() -> Self {
        let places = |settings: &mut SchemaSettings| settings.definitions_path = "/components/schemas".into();
        let answers = SchemaSettings::draft2020_12().for_serialize().with(places).into_generator();
        let alone = |settings: &mut SchemaSettings| settings.inline_subschemas = true;
        let asked = SchemaSettings::draft2020_12().for_deserialize().with(alone).into_generator();
        Self { paths: Map::new(), asked, answers }
    }

    /// Adds a path and method.
    pub(super) fn add<I>(&mut self, route: &Route, about: About, handler: &impl Described<I>) {
        let Operation { mut parameters, body, answer } = handler.describe(self);
        let name =
            route.path.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(name, _)| name);
        if let Some(name) = name {
            let schema = match about.one_of {
                [] => json!({ "type": "string", "minLength": 1 }),
                some => json!({ "type": "string", "enum": some }),
            };
            parameters.push(json!({ "in": "path", "name": name, "required": true, "schema": schema }));
        }
        let mut answers = Map::from_iter([("200".to_owned(), answer)]);
        let may_be = |status| match status {
            400 => route.method == "POST" || !parameters.is_empty(),
            401 | 403 => route.needs != Needs::Nothing,
            404 => name.is_some() || route.method == "POST" || !parameters.is_empty(),
            409 | 413 | 415 | 422 => route.method == "POST",
            429 => route.path == super::routes::EVENTS,
            _ => true,
        };
        for (status, _) in REFUSALS.iter().filter(|(status, _)| may_be(*status)) {
            let place = format!("#/components/responses/{status}");
            answers.insert(status.to_string(), json!({ "$ref": place }));
        }
        let mut operation = json!({
            "operationId": operation_id(route),
            "summary": about.words,
            "security": security(route.needs),
            "responses": answers,
        });
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if let Some(body) = body {
            operation["requestBody"] = body;
        }
        let place = self.paths.entry(route.path).or_insert_with(|| json!({}));
        place[route.method.to_lowercase()] = operation;
    }

    /// The whole document.
    pub(super) fn finish(mut self) -> Value {
        let error = json!({
            "type": "object",
            "description": "Why not, in words for people.",
            "properties": { "error": { "type": "string" } },
            "required": ["error"],
        });
        let refusal = |words: &str| {
            let schema = json!({ "$ref": "#/components/schemas/Error" });
            json!({ "description": words, "content": { "application/json": { "schema": schema } } })
        };
        let refusals: Map<String, Value> =
            REFUSALS.iter().map(|(status, words)| (status.to_string(), refusal(words))).collect();
        let mut schemas = self.answers.take_definitions(true);
        schemas.insert("Error".to_owned(), error);
        json!({
            "openapi": "3.1.1",
            "info": {
                "title": "Postern",
                "version": "1",
                "description": "What the page of the administrator shows and does, for programs. Times are seconds since 1970, unless they say \
                    otherwise. Fields may be added to answers; none goes, or changes what it means, within version 1.",
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "servers": [{ "url": "/" }],
            "paths": self.paths,
            "components": {
                "schemas": schemas,
                "responses": refusals,
                "securitySchemes": {
                    "token": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "An API token: `postern tokens add`. The roles named with a path are the scopes of which one is enough.",
                    },
                    "session": {
                        "type": "apiKey",
                        "in": "cookie",
                        "name": "__Host-postern",
                        "description": "The session of a user who has logged in to the page; without TLS, on loopback, it is called `postern`. The \
                            roles named with a path are those of users; orders need `Origin`, too.",
                    },
                },
            },
        })
    }
}

/// `get_transactions_id`
fn operation_id(route: &Route) -> String {
    let path = route.path.strip_prefix("/api/v1").unwrap_or(route.path);
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    std::iter::once(route.method.to_lowercase().as_str()).chain(words).collect::<Vec<_>>().join("_")
}

/// Which of the scopes and roles is enough.
fn security(needs: Needs) -> Value {
    let (scopes, roles): (&[&str], &[&str]) = match needs {
        Needs::Nothing => return json!([]),
        Needs::Metrics => (&["metrics", "administer"], &["viewer", "administrator"]),
        Needs::Own | Needs::See => {
            (&["read", "write", "administer"], &["viewer", "domain-administrator", "administrator"])
        }
        Needs::SeeAll => (&["read", "write", "administer"], &["viewer", "administrator"]),
        Needs::Act => (&["write", "administer"], &["domain-administrator", "administrator"]),
        Needs::ActOnAll => (&["write", "administer"], &["administrator"]),
        Needs::Manage => (&["administer"], &["domain-administrator", "administrator"]),
        Needs::Administer => (&["administer"], &["administrator"]),
    };
    json!([{ "token": scopes }, { "session": roles }])
}
