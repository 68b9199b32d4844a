//! What comes behind the `?` of a request where a name may come more than once, which serde does not read.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use url::form_urlencoded;

use super::answers::No;

/// What is read from names and values, one after the other.
pub(super) trait FromPairs: Default {
    /// What may come, for whoever sends something else.
    const WORDS: &'static str;

    /// Takes one in; `None`: it has no place, or is not one.
    fn take(&mut self, name: &str, value: &str) -> Option<()>;
}

/// All of it.
pub(super) struct Pairs<T>(pub(super) T);

impl<S: Sync, T: FromPairs> FromRequestParts<S> for Pairs<T> {
    type Rejection = No;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, No> {
        let mut read = T::default();
        for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            read.take(&name, &value).ok_or(No(StatusCode::BAD_REQUEST, T::WORDS))?;
        }
        Ok(Self(read))
    }
}
