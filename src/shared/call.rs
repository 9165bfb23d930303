//! What Redis is asked: a command, or a script that runs there.

use redis::{Cmd, ToRedisArgs};

pub use redis::Value;

/// A command with its arguments, or a script with its keys and arguments.
pub struct Call<'s> {
    pub(super) command: Cmd,
    script: Option<&'s Script>,
}

/// Without its arguments: what is stored may be anybody's answer.
impl std::fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("script", &self.script).finish_non_exhaustive()
    }
}

impl Call<'static> {
    /// A command, such as `GET`.
    pub fn new(name: &str) -> Call<'static> {
        let mut command = Cmd::new();
        command.arg(name);
        Call { command, script: None }
    }
}

impl Call<'_> {
    /// Adds an argument.
    pub fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.command.arg(argument);
        self
    }

    /// The first key: a cluster asks the node that has it. Of commands it is taken to be their first argument.
    pub(super) fn key(&self) -> Option<&[u8]> {
        let mut arguments = self.command.args_iter().skip(1).map(|argument| match argument {
            redis::Arg::Simple(bytes) => Some(bytes),
            _ => None,
        });
        match self.script {
            Some(_) if arguments.nth(1)?? == b"0" => None,
            _ => arguments.next()?,
        }
    }

    /// The same with the text of its script, which Redis does not know, or knows no longer: then it knows it.
    pub(super) fn with_text(&self) -> Option<Cmd> {
        let script = self.script?;
        let mut command = Cmd::new();
        command.arg("EVAL").arg(script.text);
        for argument in self.command.args_iter().skip(2) {
            if let redis::Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        Some(command)
    }
}

/// A script in Lua: <https://redis.io/docs/latest/develop/programmability/eval-intro/>. It is named by its digest, and its text is sent
/// only where that is not known.
#[derive(Clone, Debug)]
pub struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    /// A script of this text.
    pub fn new(text: &'static str) -> Script {
        Script { text, digest: redis::Script::new(text).get_hash().to_owned() }
    }

    /// A call of it with these keys. In a cluster they must be of one slot, so that one node has them all.
    pub fn call(&self, keys: &[impl AsRef<[u8]>]) -> Call<'_> {
        let size = self.digest.len() + keys.iter().map(|key| key.as_ref().len()).sum::<usize>();
        let mut command = Cmd::with_capacity(keys.len() + 8, size + 64);
        command.arg("EVALSHA").arg(&self.digest).arg(keys.len());
        for key in keys {
            command.arg(key.as_ref());
        }
        Call { command, script: Some(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(command: &Cmd) -> Vec<String> {
        let arguments = command.args_iter().map(|argument| match argument {
            redis::Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => format!("{other:?}"),
        });
        arguments.collect()
    }

    #[test]
    fn a_script_is_named_by_its_digest_and_sent_where_that_is_not_known() {
        let script = Script::new("return ARGV[1]");
        let call = script.call(&["a", "b"]).arg(7);
        assert_eq!(texts(&call.command), ["EVALSHA", "098e0f0d1448c0a81dafe820f66d460eb09263da", "2", "a", "b", "7"]);
        let whole = call.with_text().expect("a script");
        assert_eq!(texts(&whole), ["EVAL", "return ARGV[1]", "2", "a", "b", "7"]);
        assert!(Call::new("GET").arg("a").with_text().is_none());
    }

    #[test]
    fn the_first_key_of_a_command_and_of_a_script_is_known() {
        let script = Script::new("return ARGV[1]");
        assert_eq!(script.call(&["a", "b"]).arg(7).key(), Some(&b"a"[..]));
        assert_eq!(script.call(&[""; 0]).arg(7).key(), None);
        assert_eq!(Call::new("SET").arg("a").arg("v").key(), Some(&b"a"[..]));
        assert_eq!(Call::new("PING").key(), None);
    }
}
