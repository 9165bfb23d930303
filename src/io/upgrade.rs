//! A connection that stops speaking HTTP (RFC 9110 7.8): what is left of it is bytes.

use std::fmt;
use std::io;

use http::Extensions;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

/// The bytes of an upgraded connection.
pub type Stream = TokioIo<Upgraded>;

/// A connection that will be handed over once its 101 is through.
pub struct Upgrade(OnUpgrade);

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upgrade")
    }
}

impl Upgrade {
    /// What came with a message that can be upgraded.
    pub fn take(extensions: &mut Extensions) -> Option<Upgrade> {
        extensions.remove().map(Upgrade)
    }

    /// The bytes, once both ends agreed.
    ///
    /// # Errors
    /// When the connection broke before.
    pub async fn done(self) -> io::Result<Stream> {
        self.0.await.map(TokioIo::new).map_err(io::Error::other)
    }
}
