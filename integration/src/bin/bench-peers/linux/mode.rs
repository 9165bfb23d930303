//! What a proxy has switched on, which decides its configuration.

/// What a proxy has switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Routing, round robin, forwarding headers.
    Bare,
    /// And a key, a limit that is never reached, and a breaker.
    Full,
    /// And a cache of ten minutes.
    Cached,
    /// Bare, with a line in a file for each request.
    Logged,
    /// Bare, for 10,064 connections.
    Idle,
    /// Bare, and bodies are streamed.
    Bodies,
    /// Bare, with many services.
    Services,
}

impl Mode {
    /// As the templates call it.
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
