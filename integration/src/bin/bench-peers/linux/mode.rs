//! Modes: what a proxy has switched on, and thereby which parts of a template make up its configuration.

/// What a proxy has switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Routing, round robin, forwarding headers.
    Bare,
    /// Bare, with a key, a limit that is never reached, and a breaker.
    Full,
    /// Full, with a cache that keeps responses for ten minutes.
    Cached,
    /// Bare, with a line in a file for each request.
    Logged,
    /// Bare, for 10,064 connections.
    Idle,
    /// Bare, with bodies that are streamed.
    Bodies,
    /// Bare, with many services.
    Services,
}

impl Mode {
    /// Its name in the templates.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Bare => "bare",
            Mode::Full => "full",
            Mode::Cached => "cached",
            Mode::Logged => "logged",
            Mode::Idle => "idle",
            Mode::Bodies => "bodies",
            Mode::Services => "services",
        }
    }
}
