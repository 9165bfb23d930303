//! Connections as the crate `redis` makes them: to a server, to the master that sentinels name, to a cluster.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, TlsCertificates, TlsMode,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use socket2::TcpKeepalive;
use tokio::sync::Mutex;

use super::away::{Away, is_unknown_script};
use super::call::{Call, Value};
use crate::config::Secret;
use crate::config::redis::{Node, Reach, Server};

/// How long it may take to connect to one server, with all that is said before the first command.
const CONNECT: Duration = Duration::from_secs(1);

/// How often a call to a cluster may be sent on, to where its slot has moved.
const MOVES: u32 = 2;

/// How long the crate waits before it sends a call anew that a cluster refused (`CLUSTERDOWN`, `TRYAGAIN`, `LOADING`), in milliseconds: from,
/// to. By default it waits for more than a second, so that every refusal would be a missed deadline.
const AGAIN: (u64, u64) = (1, 2);

/// How long a connection may be silent before the kernel asks whether the other side lives, and how often it then asks.
const SILENT: Duration = Duration::from_secs(30);
const PROBES: Duration = Duration::from_secs(10);

/// How long what was sent may stay without the other side's acknowledgement before the connection is broken. Calls wait for much less; it
/// ends connections to a host that vanished.
#[cfg(target_os = "linux")]
const UNHEARD: Duration = Duration::from_secs(30);

/// A connection at work. Clones share it: what they ask goes out in one stream, and answers come back in its order.
#[derive(Clone)]
pub(super) enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    /// Asks. The text of a script goes along when Redis does not know it.
    pub(super) async fn ask(&mut self, call: &Call<'_>) -> Result<Value, RedisError> {
        match self.send(&call.command).await {
            Err(error) if is_unknown_script(&error) => match call.with_text() {
                Some(whole) => self.send(&whole).await,
                None => Err(error),
            },
            result => result,
        }
    }

    async fn send(&mut self, command: &redis::Cmd) -> Result<Value, RedisError> {
        let answer = match self {
            Link::One(connection) => connection.req_packed_command(command).await,
            Link::Cluster(connection) => connection.req_packed_command(command).await,
        };
        answer?.extract_error()
    }
}

/// What is connected to.
#[derive(Debug)]
pub(super) struct Target {
    server: Server,
    /// Held while password and certificates are read: where a file hangs, one thread hangs, not one more for each attempt.
    reading: Arc<Mutex<()>>,
}

/// What makes a connection: with the credentials that hold now.
enum Maker {
    One(Client),
    Sentinels(SentinelClient),
    Cluster(ClusterClient),
}

impl Target {
    pub(super) fn new(server: Server) -> Target {
        Target { server, reading: Arc::default() }
    }

    /// A new connection. It is made, or given up, within a few seconds, whatever hangs: a file, a name that is looked up, or a server.
    pub(super) async fn connect(&self) -> Result<Link, Away> {
        // Sentinels and nodes may have to be asked one after the other.
        let patience = match self.server.reach {
            Reach::Address(_) | Reach::Unix(_) => CONNECT,
            Reach::Sentinels(..) | Reach::Cluster(_) => 3 * CONNECT,
        };
        match tokio::time::timeout(patience, Box::pin(self.connected())).await {
            Ok(connected) => connected,
            Err(_) => Err(Away::Lost(format!("not connected within {patience:?}").into())),
        }
    }

    async fn connected(&self) -> Result<Link, Away> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
        Ok(match self.maker().await? {
            Maker::One(client) => Link::One(client.get_multiplexed_async_connection_with_config(&config).await?),
            Maker::Sentinels(mut client) => Link::One(client.get_async_connection_with_config(&config).await?),
            Maker::Cluster(client) => Link::Cluster(client.get_async_connection().await?),
        })
    }

    /// Password and certificates are read anew, away from this thread: they lie on a disk.
    async fn maker(&self) -> Result<Maker, Away> {
        let (server, alone) = (self.server.clone(), self.reading.clone().lock_owned().await);
        let reading = move || {
            // Also where nobody waits for it any more, it is held until all is read.
            let _alone = alone;
            maker(&server)
        };
        let maker = tokio::task::spawn_blocking(reading).await;
        maker.unwrap_or_else(|panic| Err(Away::Lost(panic.to_string().into())))
    }
}

fn maker(server: &Server) -> Result<Maker, Away> {
    let password = password(server.password.as_ref())?;
    let certificates = if server.tls { Some(certificates(server)?) } else { None };
    Ok(match &server.reach {
        Reach::Address(node) => Maker::One(one(server, address(server, node), password, certificates)?),
        Reach::Unix(path) => Maker::One(one(server, ConnectionAddr::Unix(path.clone()), password, None)?),
        Reach::Sentinels(nodes, master) => Maker::Sentinels(sentinels(server, nodes, master, password, certificates)?),
        Reach::Cluster(nodes) => Maker::Cluster(cluster(server, nodes, password, certificates)?),
    })
}

/// A password as it is now.
fn password(secret: Option<&Secret>) -> Result<Option<String>, Away> {
    let password = secret.map(Secret::read).transpose();
    password.map_err(|why| Away::Lost(format!("the password cannot be read: {why}").into()))
}

/// Small requests go out at once, and a host that vanished is noticed also where nobody asks.
fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(SILENT).with_interval(PROBES);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(UNHEARD);
    settings
}

fn address(server: &Server, node: &Node) -> ConnectionAddr {
    let (host, port) = (node.host.clone(), node.port);
    match server.tls {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    }
}

fn one(
    server: &Server,
    address: ConnectionAddr,
    password: Option<String>,
    certificates: Option<TlsCertificates>,
) -> Result<Client, RedisError> {
    let mut settings = RedisConnectionInfo::default().set_db(server.database);
    if let Some(user) = &server.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = password {
        settings = settings.set_password(password);
    }
    let info = address.into_connection_info()?.set_tcp_settings(tcp()).set_redis_settings(settings);
    match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates),
        None => Client::open(info),
    }
}

fn sentinels(
    server: &Server,
    nodes: &[Node],
    master: &str,
    password: Option<String>,
    certificates: Option<TlsCertificates>,
) -> Result<SentinelClient, Away> {
    let addresses = nodes.iter().map(|node| address(server, node));
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
        .set_client_to_redis_db(server.database)
        .set_client_to_redis_tcp_settings(tcp())
        .set_client_to_sentinel_tcp_settings(tcp());
    if let Some(user) = &server.user {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = password {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(user) = &server.sentinel_user {
        builder = builder.set_client_to_sentinel_username(user);
    }
    if let Some(password) = self::password(server.sentinel_password.as_ref())? {
        builder = builder.set_client_to_sentinel_password(password);
    }
    if let Some(certificates) = certificates {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_certificates(certificates);
    }
    Ok(builder.build()?)
}

fn cluster(
    server: &Server,
    nodes: &[Node],
    password: Option<String>,
    certificates: Option<TlsCertificates>,
) -> Result<ClusterClient, RedisError> {
    let mut builder = ClusterClientBuilder::new(nodes.iter().map(|node| address(server, node)))
        .retries(MOVES)
        .min_retry_wait(AGAIN.0)
        .max_retry_wait(AGAIN.1)
        .connection_timeout(CONNECT)
        .response_timeout(CONNECT)
        .overall_response_timeout(None)
        .tcp_settings(tcp());
    if let Some(user) = &server.user {
        builder = builder.username(user);
    }
    if let Some(password) = password {
        builder = builder.password(password);
    }
    if let Some(certificates) = certificates {
        builder = builder.tls(TlsMode::Secure).certs(certificates);
    }
    builder.build()
}

/// What TLS trusts and shows. The system's authorities are read here where no others are written, because the crate would read them on the
/// thread that serves requests.
fn certificates(server: &Server) -> Result<TlsCertificates, Away> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|why| Away::Lost(format!("{} cannot be read: {why}", path.display()).into()))
    };
    let root_cert = match &server.ca_file {
        Some(path) => read(path)?,
        None => system_authorities()?,
    };
    let client_tls = match &server.client_cert {
        Some((cert, key)) => Some(ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }),
        None => None,
    };
    Ok(TlsCertificates { client_tls, root_cert: Some(root_cert) })
}

/// The authorities that this system trusts.
fn system_authorities() -> Result<Vec<u8>, Away> {
    let found = rustls_native_certs::load_native_certs();
    authorities(found.certs).ok_or_else(|| {
        let faults = found.errors.iter().map(|fault| format!(": {fault}")).collect::<String>();
        Away::Lost(format!("this system trusts no authority that can be used, so write ca_file{faults}").into())
    })
}

/// Authorities in PEM (RFC 7468), without those that the crate would not read: it takes all or none. `None` where none is left.
fn authorities(found: Vec<CertificateDer<'static>>) -> Option<Vec<u8>> {
    let mut pem = String::new();
    for authority in found {
        if RootCertStore::empty().add(authority.clone()).is_err() {
            continue;
        }
        pem += "-----BEGIN CERTIFICATE-----\n";
        let text = STANDARD.encode(&authority);
        for line in text.as_bytes().chunks(64) {
            pem += std::str::from_utf8(line).unwrap_or_default();
            pem.push('\n');
        }
        pem += "-----END CERTIFICATE-----\n";
    }
    (!pem.is_empty()).then(|| pem.into_bytes())
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;

    const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUNFhWc3NMp9Uddkg4wfhEBs7q0nQwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJYXV0aG9yaXR5MCAXDTI2MTEyOTEyNTc1NVoYDzIxMjYxMTA1
MTI1NzU1WjAUMRIwEAYDVQQDDAlhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAR0MK5W3c7100kH7xqbggOtSK4/7LFv3hCEOQqMtiMEJ7gPy/w70pBz
245udM+m7dGW+C6oTPQ/Oiz9i/XLAV23o1MwUTAdBgNVHQ4EFgQUfEhZmdxqEx6F
xJDGuKgaTV41SHUwHwYDVR0jBBgwFoAUfEhZmdxqEx6FxJDGuKgaTV41SHUwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEAivBR8TLv7C8MYtiT2BA1
xOsI//b8XYDmzDIUdUv18wECIHaOKZ8saFgzl7a2tBPj2Q5qji570MCW2mt5OIYi
SFdU
-----END CERTIFICATE-----
";

    #[test]
    fn an_authority_that_cannot_be_read_keeps_none_of_the_others_out() {
        let odd = CertificateDer::from(vec![0x30, 0x03, 0x02, 0x01, 0x07]);
        assert_eq!(authorities(vec![odd.clone()]), None);
        let well = CertificateDer::from_pem_slice(AUTHORITY.as_bytes()).expect("a certificate");
        assert_eq!(authorities(vec![odd.clone(), well, odd]), Some(AUTHORITY.as_bytes().to_vec()));
    }
}
