//! An aggregate, asked for at the running gateway as a client would, and what became of its parts.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::client::{Client, Command, page};
use crate::pages::compose::{Detail, Page, Tried};

/// How long a trial takes at least until it is given up, and what it takes longer than the deadline of any aggregate.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// A request for an aggregate.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// The compose whose calls it should make; without a name, whichever.
    pub compose: Option<String>,
    /// Where: a URL, or a path on the gateway's first listener.
    pub target: String,
    /// Its header fields, each as `Name: value`.
    pub headers: Vec<String>,
}

/// Makes the request, and finds out what the gateway says of it.
pub(super) async fn made(trial: &Trial, client: &Client) -> Result<Tried, String> {
    let headers = fields(&trial.headers)?;
    let all: Page = page(&client.send(&Command::Compose(None)).await?, "composes")?;
    let mut names: Vec<String> = all.composes.iter().map(|compose| compose.name.clone()).collect();
    if let Some(wanted) = &trial.compose {
        if !names.contains(wanted) {
            return Err(format!(
                "the gateway has no [[compose]] `{wanted}`: lictor compose show lists those that it has"
            ));
        }
        // The route may be another one's: then it is said whose.
        names.sort_by_key(|name| name != wanted);
    }
    let url = match trial.target.starts_with('/') {
        true => client.beside(public(&all)?, &trial.target),
        false => trial.target.clone(),
    };
    let listeners: Vec<SocketAddr> = all.listeners.iter().filter_map(|listener| listener.parse().ok()).collect();
    let longest =
        all.composes.iter().map(|compose| Duration::from_millis(compose.deadline_ms)).max().unwrap_or_default();
    let patience = PATIENCE.0.max(longest.saturating_add(PATIENCE.1));
    let mut tried = client.get(&url, headers, &listeners, patience).await?;
    for name in names {
        let detail: Detail = page(&client.send(&Command::Compose(Some(name.clone()))).await?, "calls")?;
        let run = detail.runs.into_iter().find(|run| Some(&run.id) == tried.request_id.as_ref());
        if let Some(run) = run {
            (tried.compose, tried.run) = (Some(name), Some(run));
            break;
        }
    }
    Ok(tried)
}

/// The first listener, where its port is known.
fn public(page: &Page) -> Result<SocketAddr, String> {
    let first = page.listeners.iter().find_map(|listener| listener.parse().ok());
    first.filter(|address: &SocketAddr| address.port() != 0).ok_or_else(|| {
        "where does the gateway listen? Its configuration names no port: say the whole URL, --try http://HOST:PORT/PATH".to_owned()
    })
}

fn fields(texts: &[String]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for text in texts {
        let read = text.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        let (name, value) = read.ok_or_else(|| format!("`{text}` is no header: write -H 'Name: value'"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_asked_at_the_first_listener_whose_port_is_known() {
        let page = |listener: &str| Page { listeners: vec![listener.to_owned()], ..Page::default() };
        assert_eq!(public(&page("127.0.0.1:5000")), Ok(SocketAddr::from(([127, 0, 0, 1], 5000))));
        let why = public(&page("127.0.0.1:0")).expect_err("the system chose it");
        assert!(why.contains("say the whole URL"), "{why}");
    }

    #[test]
    fn a_header_is_a_name_and_a_value_with_a_colon_between_them() {
        let headers =
            fields(&["X-Client: phone".to_owned(), "Accept:application/json".to_owned()]).expect("they are two");
        assert_eq!(
            (&headers["x-client"], &headers["accept"]),
            (&"phone".parse().expect("a value"), &"application/json".parse().expect("a value"))
        );
        for odd in ["phone", "a b: c", "a: b\nc"] {
            assert!(fields(&[odd.to_owned()]).is_err_and(|why| why.contains("Name: value")), "{odd}");
        }
    }
}
