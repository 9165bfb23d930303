//! `on_error`: what becomes of the whole when a call fails.

use http::StatusCode;
use serde_json::{Map, Value as Json};

use crate::config::compose::{Fallback, OnError};

/// How it is written.
const FORMS: &str = "write \"fail\", \"pass\", \"null\", \"omit\", \"stale\", { value = … }, or by status { 404 = \"pass\", else = \"fail\" }";

/// What is written; one for all failures, or one for each status.
pub(super) fn on_error(json: &Json) -> Result<OnError, String> {
    match json {
        Json::Object(members) if !members.contains_key("value") => by_status(members),
        other => Ok(OnError { by_status: Vec::new(), other: fallback(other)? }),
    }
}

/// `{ 404 = "pass", else = "fail" }`. What `else` stands for fails when it is not written.
fn by_status(members: &Map<String, Json>) -> Result<OnError, String> {
    let mut found = OnError { by_status: Vec::new(), other: Fallback::Fail };
    for (name, json) in members {
        if name == "else" {
            found.other = fallback(json)?;
            continue;
        }
        let status = name.parse::<u16>().ok().filter(|status| (400..600).contains(status));
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.ok_or_else(|| format!("`{name}` is no status from 400 to 599, nor `else`: {FORMS}"))?;
        found.by_status.push((status, fallback(json)?));
    }
    match members.is_empty() {
        true => Err(format!("is empty: {FORMS}")),
        false => Ok(found),
    }
}

fn fallback(json: &Json) -> Result<Fallback, String> {
    match json {
        Json::String(word) => match word.as_str() {
            "fail" => Ok(Fallback::Fail),
            "pass" => Ok(Fallback::Pass),
            "null" => Ok(Fallback::Null),
            "omit" => Ok(Fallback::Omit),
            "stale" => Ok(Fallback::Stale),
            _ => Err(format!("`{word}` is not understood: {FORMS}")),
        },
        Json::Object(members) if members.len() == 1 => {
            let value = members.get("value").ok_or_else(|| format!("is not understood: {FORMS}"))?;
            Ok(Fallback::Value(value.clone()))
        }
        _ => Err(format!("is not understood: {FORMS}")),
    }
}
