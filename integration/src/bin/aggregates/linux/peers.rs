//! Other aggregators: KrakenD's core, and what a team would write by hand.

use clap::ValueEnum;
use integration::measure::system::Outcome;

use super::obtain::{self, Obtained};
use super::services::{NAMES, Part, aggregate};
use super::side::Side;
use super::{Options, Setup};

/// An aggregator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Peer {
    /// KrakenD's core, in Go.
    Lura,
    /// By hand, with undici.
    Node,
    /// By hand, with Flask and requests, served by gunicorn.
    Python,
}

/// One that can be had on this machine.
pub(super) struct Available {
    peer: Peer,
    obtained: Obtained,
}

/// Installs and builds those that are asked for. Says on stdout of which version they are, or why they cannot be had.
pub(super) fn obtain(options: &Options) -> Vec<Available> {
    let mut available = Vec::new();
    for peer in &options.peers {
        let obtained = match peer {
            Peer::Lura => obtain::lura(options.lura.as_deref()),
            Peer::Node => obtain::node(),
            Peer::Python => obtain::python(),
        };
        match obtained {
            Ok(obtained) => {
                println!("{}: {}", peer.name(), obtained.version);
                available.push(Available { peer: *peer, obtained });
            }
            Err(why) => println!("NOT MEASURED: {}: {why}", peer.name()),
        }
    }
    available
}

impl Peer {
    /// Its name in tables.
    fn name(self) -> &'static str {
        match self {
            Peer::Lura => "KrakenD's core (Lura)",
            Peer::Node => "Node (undici)",
            Peer::Python => "Python (Flask, requests, gunicorn)",
        }
    }
}

impl Available {
    /// Its name in tables.
    pub(super) fn name(&self) -> &'static str {
        self.peer.name()
    }

    /// Starts it with an aggregate of three of this part at `/page`.
    pub(super) fn start(&self, setup: &Setup, part: Part) -> Outcome<Side> {
        let places = NAMES.iter().zip(setup.services.0);
        let parts: Vec<_> = places.map(|(name, address)| format!("{name}=http://{address}{}", part.path())).collect();
        let command = |port| Ok((self.command(port, parts, setup.options.conns), Vec::new()));
        Side::start(self.name(), &setup.runtime, command, &[("/page".to_owned(), aggregate(part.bytes))])
    }

    fn command(&self, port: u16, parts: Vec<String>, connections: usize) -> Vec<String> {
        let place = self.obtained.place.display().to_string();
        let port = port.to_string();
        match self.peer {
            Peer::Lura => [vec![place, port], parts].concat(),
            Peer::Node => [vec!["node".into(), place, port], parts].concat(),
            Peer::Python => {
                let (bind, parts) = (format!("127.0.0.1:{port}"), format!("PARTS={}", parts.join(" ")));
                let (program, threads) = (format!("{place}/venv/bin/gunicorn"), connections.to_string());
                // A thread for each connection, because a connection that waits for one would be slower than its parts.
                let words = ["env", &parts, &program, "--chdir", &place, "--bind", &bind, "--workers", "1"];
                let more = ["--worker-class", "gthread", "--threads", &threads, "--keep-alive", "75"];
                let last = ["--log-level", "warning", "aggregator:app"];
                [&words[..], &more, &last].concat().into_iter().map(str::to_owned).collect()
            }
        }
    }
}
