//! The keys of one place, gathered once: by what its metadata names, from a URL, from a file, or a secret.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use super::http::{Answer, Failure, Http, Request, Url, url};
use super::listing::{Listed, listed};
use super::metadata;
use super::place::Place;
use crate::config::identity::Keys;
use crate::token::KeySet;

/// How long one request may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// The most bytes of an answer or a file.
const LARGEST: usize = 1 << 20;

/// Keys, and what they were read from.
pub(crate) struct Gathered {
    /// The keys.
    pub(crate) set: KeySet,
    /// As the set describes them.
    pub(crate) listed: Vec<Listed>,
    /// What they were read from. It may be a secret.
    pub(crate) content: Vec<u8>,
    /// How long they hold, as their issuer says.
    pub(crate) fresh: Option<Duration>,
    /// Where metadata said that they lie.
    pub(crate) location: Option<Url>,
}

/// Where metadata said last that the keys lie.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    /// There.
    pub(crate) url: Url,
    /// It was said lately: nobody need ask again.
    pub(crate) lately: bool,
}

/// Gathers the keys of a place.
pub(crate) async fn gather(http: Http, place: Place, located: Option<Located>) -> Result<Gathered, Failure> {
    let mut location = None;
    let Answer { body, fresh } = match &place.issuer.keys {
        Keys::Discovery => get(&http, location.insert(locate(&http, &place, located).await?)).await?,
        Keys::Url(text) => get(&http, &url(text)?).await?,
        Keys::File(path) => of_file(path.clone()).await?,
        Keys::Secret(secret, encoding) => {
            let secret = secret.read().map_err(|why| Failure::wrong(format!("its secret cannot be read: {why}")))?;
            let bytes =
                encoding.bytes(&secret).map_err(|why| Failure::wrong(format!("its keys cannot be used: {why}")))?;
            Answer { body: bytes, fresh: None }
        }
    };
    let set = place.read(&body).map_err(|why| Failure::wrong(format!("its keys cannot be used: {why}")))?;
    let listed = match place.issuer.keys {
        Keys::Secret(..) => vec![Listed::secret(&body)],
        _ => listed(&body),
    };
    Ok(Gathered { set, listed, content: body, fresh, location })
}

/// Where the keys lie. What metadata said lately still holds; what it said before is used where it cannot be asked: to fetch the keys is
/// what counts.
async fn locate(http: &Http, place: &Place, located: Option<Located>) -> Result<Url, Failure> {
    if let Some(Located { url, lately: true }) = located {
        return Ok(url);
    }
    let asked = match metadata::location(&place.iss) {
        Ok(metadata) => get(http, &metadata).await,
        Err(failure) => Err(failure),
    };
    match (asked, located) {
        (Ok(answer), _) => metadata::keys_of(&answer.body, &place.iss, &place.issuer.keys_origin),
        (Err(failure), Some(located)) if failure.away => Ok(located.url),
        (Err(failure), _) => Err(Failure { reason: format!("its metadata: {}", failure.reason), ..failure }),
    }
}

async fn get(http: &Http, url: &Url) -> Result<Answer, Failure> {
    http.send(&Request { url, form: None, deadline: DEADLINE, largest: LARGEST }).await
}

/// Reads a file where it keeps nobody waiting.
async fn of_file(path: PathBuf) -> Result<Answer, Failure> {
    let name = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || {
        let mut body = Vec::new();
        File::open(path)?.take(LARGEST as u64 + 1).read_to_end(&mut body)?;
        Ok::<_, std::io::Error>(body)
    });
    // Without a deadline: a thread that hangs in a read cannot be ended, and there must not be another one each second.
    match read.await {
        Ok(Ok(body)) if body.len() <= LARGEST => Ok(Answer { body, fresh: None }),
        Ok(Ok(_)) => Err(Failure::wrong(format!("{name} is larger than {} KiB", LARGEST >> 10))),
        Ok(Err(why)) => Err(Failure::away(format!("{name} cannot be read: {why}"))),
        Err(_) => Err(Failure::away(format!("{name} cannot be read"))),
    }
}
