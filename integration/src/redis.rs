//! A real Redis, for one test: a server, and whoever stands between it and the gateway. `integration/redis/obtain` says where it comes from.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::agent::free_port;
use crate::eventually;
use crate::process::{Process, not_run, root, said};

/// A server at work, in memory only.
#[derive(Debug)]
pub struct Redis {
    /// Its port on 127.0.0.1, without TLS.
    pub port: u16,
    flags: Vec<String>,
    folder: PathBuf,
    process: Option<Process>,
}

/// The path of a server, obtained when there is none. `None` where none can be had: then it is said on stderr that the test of this thread
/// was not run.
fn obtain() -> Option<String> {
    match said(&mut Command::new(root().join("integration/redis/obtain"))) {
        Ok(path) => Some(path.trim().to_owned()),
        Err(why) => {
            not_run(&why);
            None
        }
    }
}

impl Redis {
    /// A server with these flags besides those that all have, such as `--requirepass secret`. `None` where none can be had.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(flags: &[&str]) -> Option<Redis> {
        let mut words: Vec<_> = flags.iter().flat_map(|flag| flag.split(' ')).map(str::to_owned).collect();
        words.retain(|word| !word.is_empty());
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("lictor-redis-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for it");
        let mut redis = Redis { port, flags: words, folder, process: None };
        redis.restart().await.then_some(redis)
    }

    /// What the gateway's `address` is.
    pub fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it again, empty. False where none can be had.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) -> bool {
        let Some(binary) = tokio::task::spawn_blocking(obtain).await.expect("no panic") else { return false };
        let mut command = Command::new(binary);
        // Sentinels write their configuration, and so have one.
        if self.flags.iter().any(|flag| flag == "--sentinel") {
            let file = self.folder.join("sentinel.conf");
            std::fs::write(&file, "").expect("a file for it");
            command.arg(file);
        }
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(&self.folder);
        if !self.flags.iter().any(|flag| flag == "--sentinel") {
            command.args(["--save", "", "--appendonly", "no", "--enable-debug-command", "yes"]);
        }
        command.args(&self.flags).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Process::start("redis-server", &mut command).expect("the server starts");
        eventually("the server answers", || {
            assert!(process.ended().is_none(), "redis-server ended");
            async { self.try_ask(&["PING"]).await.is_some() }
        })
        .await;
        self.process = Some(process);
        true
    }

    /// Sends it a signal: STOP and CONT, so that it hangs and goes on.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::KILL);
            process.wait(Duration::from_secs(5));
        }
    }

    /// What it answers to a command, as it comes over the wire, without the last line's end.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words).await.unwrap_or_else(|| panic!("redis-server does not answer {words:?}"))
    }

    async fn try_ask(&self, words: &[&str]) -> Option<String> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        connection.write_all(request.as_bytes()).await.ok()?;
        connection.shutdown().await.ok()?;
        let mut answer = String::new();
        let read = connection.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(5), read).await.ok()?.ok()?;
        (!answer.is_empty()).then(|| answer.trim_end().to_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // One that is stopped would not end.
        self.signal(Signal::CONT);
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A stand-in for what a real server does not do on command.
#[derive(Debug)]
pub struct Stand {
    /// Its port on 127.0.0.1.
    pub port: u16,
    task: AbortHandle,
}

impl Stand {
    /// Passes on to a server what it gets, and answers after this delay.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn slow(port: u16, delay: Duration) -> Stand {
        Stand::serve(move |mut client: TcpStream| async move {
            let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            let (mut from_client, mut to_client) = client.split();
            let (mut from_server, mut to_server) = server.split();
            let answers = async {
                let mut bytes = vec![0; 64 << 10];
                while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
                    tokio::time::sleep(delay).await; // what is slow
                    if to_client.write_all(&bytes[..count]).await.is_err() {
                        break;
                    }
                }
            };
            tokio::select! {
                () = answers => {}
                _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
            }
        })
        .await
    }

    /// Answers every command with the same line, such as `-LOADING`. Commands are told apart by how they begin.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn saying(line: &'static str) -> Stand {
        Stand::serve(move |mut client: TcpStream| async move {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(count @ 1..) = client.read(&mut bytes).await {
                let commands = bytes[..count].iter().filter(|byte| **byte == b'*').count();
                if client.write_all(format!("{line}\r\n").repeat(commands).as_bytes()).await.is_err() {
                    break;
                }
            }
        })
        .await
    }

    async fn serve<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Stand
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client));
            }
        });
        Stand { port, task: task.abort_handle() }
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.task.abort();
    }
}
