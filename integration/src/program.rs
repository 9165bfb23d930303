//! The gateway as a program of its own, whose memory can be measured.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crate::client::Client;
use crate::eventually;
use crate::process::{Process, built};
use crate::world::text;

/// `lictor run` on a socket that it inherits. Dropped, it ends.
#[derive(Debug)]
pub struct Program {
    /// Its public listener, which has the pages of admin, too.
    pub address: SocketAddr,
    /// A client with the key.
    pub client: Client,
    process: Process,
}

impl Program {
    /// Starts it with this configuration, which has no listener and no `[admin]`, and waits until it is ready.
    ///
    /// # Panics
    /// When it cannot be built or started.
    pub async fn start(more: &str) -> Program {
        let lictor = tokio::task::block_in_place(|| built(&["lictor"])).expect("it builds").remove(0);
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("it is bound");
        let own = format!("[[listener]]\naddress = \"{address}\"\n[admin]\npublic = true\naddress = \"127.0.0.1:0\"\n");
        let file = std::env::temp_dir().join(format!("lictor-program-{}-{}.toml", std::process::id(), address.port()));
        std::fs::write(&file, text(&format!("{more}{own}"))).expect("a temporary file");
        // LISTEN_PID must be the gateway's process id, which `exec` keeps. The first inherited descriptor is 3.
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "exec 3>&1 >/dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", "sh"]).arg(lictor);
        shell.args(["run", "--config"]).arg(&file).stderr(Stdio::null()).stdout(OwnedFd::from(socket));
        let process = Process::start("lictor", &mut shell).expect("it starts");
        let client = Client::new(address);
        eventually("/ready is 200", || async { client.get("/ready").await.status == 200 }).await;
        let _ = std::fs::remove_file(file);
        Program { address, client, process }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}
