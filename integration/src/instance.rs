//! An instance whose answers a test writes, byte by byte where it must: what no well-behaved server would send, and a record of what
//! it was asked, and of how much at once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, Notify, Semaphore, SemaphorePermit};
use tokio::task::{JoinHandle, JoinSet};

/// A request that an instance has received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `GET`.
    pub method: String,
    /// `/orders/1?page=2`, as it came.
    pub target: String,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// Its body, of which the length was given.
    pub body: String,
}

impl Asked {
    /// All values of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The last segment of its path.
    pub fn last(&self) -> &str {
        let path = self.target.split('?').next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }
}

/// What an instance does for a request, one step after another.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Does nothing for so long.
    Wait(Duration),
    /// Waits until so many requests have come to this point.
    Meet(Arc<Barrier>),
    /// Waits until a test notifies it. What was notified before counts once.
    Until(Arc<Notify>),
    /// Waits for a permit, which it uses up.
    Permit(Arc<Semaphore>),
    /// Does nothing more, until the other end has gone.
    Hang,
    /// Closes the connection.
    Close,
}

/// An instance on a port of 127.0.0.1. Dropping it closes its listener and its connections.
#[derive(Debug)]
pub struct Instance {
    /// Where it listens.
    pub address: SocketAddr,
    record: Arc<Record>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Record {
    asked: Mutex<Vec<Asked>>,
    /// Requests that are being answered now, and the most that were at once.
    under_way: AtomicUsize,
    most: AtomicUsize,
}

/// Counts a request as under way until it is dropped.
struct UnderWay(Arc<Record>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Instance {
    /// Starts one that does for each request what this says.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start(script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static) -> Instance {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let (script, record) = (Arc::new(script), Arc::new(Record::default()));
        let shared = record.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, record) = (script.clone(), shared.clone());
                connections.spawn(async move {
                    let _ = connection(stream, &*script, &record).await;
                });
            }
        });
        Instance { address, record, task }
    }

    /// What it was asked, oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        self.record.asked.lock().expect("no one panics while holding this").clone()
    }

    /// How many requests it has received.
    pub fn hits(&self) -> usize {
        self.record.asked.lock().expect("no one panics while holding this").len()
    }

    /// How many requests it has received whose path ends so.
    pub fn hits_at(&self, end: &str) -> usize {
        self.asked()
            .iter()
            .filter(|asked| asked.target.split('?').next().is_some_and(|path| path.ends_with(end)))
            .count()
    }

    /// How many requests it is answering, whose connections are open.
    pub fn under_way(&self) -> usize {
        self.record.under_way.load(Ordering::SeqCst)
    }

    /// The most requests that it was answering at once.
    pub fn most_at_once(&self) -> usize {
        self.record.most.load(Ordering::SeqCst)
    }

    /// `[[service]]` for it.
    pub fn service(&self, name: &str) -> String {
        format!("[[service]]\nname = \"{name}\"\ninstances = [\"{}\"]\n", self.address)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer with a length.
pub fn answer(status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<Step> {
    let body = body.as_ref();
    let mut head = format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    vec![Step::Send([head.as_bytes(), b"\r\n", body].concat())]
}

/// A 200 with JSON.
pub fn json(text: impl AsRef<[u8]>) -> Vec<Step> {
    answer(200, &[("Content-Type", "application/json")], text)
}

/// A 200 with JSON in chunks of so many bytes, a pause before each.
pub fn chunked(text: &str, size: usize, pause: Duration) -> Vec<Step> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut steps = vec![Step::Send(head.into())];
    for chunk in text.as_bytes().chunks(size) {
        let head = format!("{:x}\r\n", chunk.len());
        steps.extend([Step::Wait(pause), Step::Send([head.as_bytes(), chunk, b"\r\n"].concat())]);
    }
    steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
    steps
}

/// Answers one request after another, until the other end closes or the script does.
async fn connection(
    stream: TcpStream,
    script: &(dyn Fn(&Asked) -> Vec<Step> + Send + Sync),
    record: &Arc<Record>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.into_split();
    let mut read = Vec::new();
    loop {
        let asked = request(&mut reader, &mut read).await?;
        let now = record.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        let under_way = UnderWay(record.clone());
        record.most.fetch_max(now, Ordering::SeqCst);
        let steps = script(&asked);
        record.asked.lock().expect("no one panics while holding this").push(asked);
        // It notices that the other end closes, whatever it is doing: nobody sends two requests at once.
        let goes_on = tokio::select! {
            done = perform(steps, &mut writer) => done?,
            () = closed(&mut reader, &mut read) => false,
        };
        drop(under_way);
        if !goes_on {
            return Ok(());
        }
    }
}

/// Performs the steps. Returns whether the connection goes on.
async fn perform(steps: Vec<Step>, writer: &mut OwnedWriteHalf) -> std::io::Result<bool> {
    for step in steps {
        match step {
            Step::Send(bytes) => writer.write_all(&bytes).await?,
            // The test says how slow it is.
            Step::Wait(time) => tokio::time::sleep(time).await,
            Step::Meet(barrier) => {
                barrier.wait().await;
            }
            Step::Until(notify) => notify.notified().await,
            // Nobody closes it.
            Step::Permit(permits) => permits.acquire().await.into_iter().for_each(SemaphorePermit::forget),
            Step::Hang => std::future::pending().await,
            Step::Close => return Ok(false),
        }
    }
    Ok(true)
}

/// Until the other end has closed. What it sends before that is kept.
async fn closed(reader: &mut OwnedReadHalf, read: &mut Vec<u8>) {
    while let Ok(1..) = reader.read_buf(read).await {}
}

/// The next request, with its body.
async fn request(reader: &mut OwnedReadHalf, read: &mut Vec<u8>) -> std::io::Result<Asked> {
    let mut more = async |read: &mut Vec<u8>| match reader.read_buf(read).await? {
        0 => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
        _ => Ok(()),
    };
    let end = loop {
        match read.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(end) => break end + 4,
            None => more(read).await?,
        }
    };
    let mut asked = head(&read[..end]);
    let length = asked.values("content-length").first().and_then(|length| length.parse().ok()).unwrap_or(0);
    while read.len() < end + length {
        more(read).await?;
    }
    asked.body = String::from_utf8_lossy(&read[end..end + length]).into_owned();
    read.drain(..end + length);
    Ok(asked)
}

fn head(bytes: &[u8]) -> Asked {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let mut line = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let fields = lines.filter_map(|line| line.split_once(':'));
    let headers = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let (method, target) = (line.next().unwrap_or_default(), line.next().unwrap_or_default());
    Asked { method, target, headers, body: String::new() }
}
