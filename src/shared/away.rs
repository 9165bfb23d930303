//! Why there is no answer, and what that says of the connection.

use std::fmt;

use redis::{ErrorKind, RedisError};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Away {
    /// Nobody was asked: the connection has failed lately, or is being made.
    Paused,
    /// No answer came within the deadline.
    Late,
    /// There is no connection, or it broke.
    Lost(Box<str>),
    /// Redis refused: its code (`WRONGTYPE`, `OOM`) and its words.
    Refused(Box<str>),
}

impl Away {
    /// The code of a refusal: `OOM` of `OOM command not allowed when used memory > 'maxmemory'`.
    pub fn code(&self) -> Option<&str> {
        match self {
            Away::Refused(words) => words.split_ascii_whitespace().next(),
            _ => None,
        }
    }
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Away::Paused => f.write_str("it was not asked, because it failed lately"),
            Away::Late => f.write_str("no answer came within the deadline"),
            Away::Lost(why) => write!(f, "no connection: {why}"),
            Away::Refused(words) => write!(f, "it refuses: {words}"),
        }
    }
}

impl From<RedisError> for Away {
    fn from(error: RedisError) -> Away {
        match error.code() {
            Some(code) => {
                let words = [code, error.detail().unwrap_or_default()].join(" ");
                Away::Refused(words.trim_end().into())
            }
            None => Away::Lost(error.to_string().into()),
        }
    }
}

/// What becomes of a connection after a call without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It is as good as before: that one command could not be done.
    Stays,
    /// It pauses, and may be as good as before then.
    Pauses,
    /// It pauses, and another one is made then.
    Ends,
}

impl After {
    /// Redis' codes are in <https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors> only by example; these are those of
    /// its sources that say something of the server.
    pub(super) fn of(away: &Away) -> After {
        match (away, away.code().unwrap_or_default()) {
            // It starts, runs a long script, or its cluster is incomplete: all commands are refused, for a while.
            (Away::Refused(_), "LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN") => After::Pauses,
            // Another server is the master by now, or the credentials were changed: a new connection finds that out.
            (Away::Refused(_), "READONLY" | "NOAUTH" | "WRONGPASS") => After::Ends,
            (Away::Refused(_), _) => After::Stays,
            (Away::Late, _) => After::Pauses,
            (Away::Lost(_), _) => After::Ends,
            (Away::Paused, _) => After::Stays,
        }
    }
}

/// Whether Redis does not know a script (any more): it forgets them when it is started again.
pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(redis::ServerErrorKind::NoScript)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_one_command_leaves_the_connection_as_it_is() {
        let refused = |words: &str| After::of(&Away::Refused(words.into()));
        for words in ["WRONGTYPE Operation against a key", "OOM command not allowed", "NOPERM no", "MISCONF x", "ERR"] {
            assert_eq!(refused(words), After::Stays, "{words}");
        }
        for words in ["LOADING Redis is loading", "BUSY a script", "CLUSTERDOWN Hash slot not served"] {
            assert_eq!(refused(words), After::Pauses, "{words}");
        }
        for words in ["READONLY You can't write against a read only replica.", "NOAUTH Authentication required."] {
            assert_eq!(refused(words), After::Ends, "{words}");
        }
        assert_eq!([After::of(&Away::Late), After::of(&Away::Lost("x".into()))], [After::Pauses, After::Ends]);
    }

    #[test]
    fn a_refusal_is_told_from_a_connection_that_broke() {
        let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!(Away::from(broken), Away::Lost("broken pipe".into()));
        let words = "OOM command not allowed when used memory > 'maxmemory'.";
        assert_eq!(Away::Refused(words.into()).code(), Some("OOM"));
        assert_eq!(Away::Late.code(), None);
    }
}
