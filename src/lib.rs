//! Lictor: an API gateway that walks ahead of Consul.

#![warn(clippy::print_stderr, clippy::print_stdout, reason = "they panic when nobody reads")]

// -- words: imported by many, importing nothing --
pub mod catalog;
pub mod config;
pub mod fields;
pub mod io;
pub mod own_file;
pub mod pages;
pub mod plane;
pub mod request;
pub mod shape;
pub mod supervisor;
pub mod telemetry;
pub mod token;
pub mod worker;

// -- before the snapshot: what exists --
pub mod discovery;
pub mod fleet;
pub mod issuers;
pub mod shared;

// -- the snapshot --
pub mod snapshot;

// -- after it: one request --
pub mod filter;
pub mod proxy;
pub mod route;
pub mod server;
pub mod upstream;

// -- the side door --
pub mod admin;

// -- from outside --
pub mod terminal;

// -- the only file that sees every room --
pub mod app;
