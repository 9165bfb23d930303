//! Connections as the crate `redis` makes them: to a server, to the master that sentinels name, to a cluster.

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

use super::away::{Away, is_unknown_script};
use super::call::{Call, Value};
use crate::config::Secret;
use crate::config::redis::{Node, Reach, Server};

/// How long it may take to connect to one server, with all that is said before the first command.
const CONNECT: Duration = Duration::from_secs(1);

/// How often a call to a cluster may be sent on, to where its slot has moved.
const MOVES: u32 = 2;

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
pub(super) struct Target(Server);

/// What makes a connection: with the credentials that hold now.
enum Maker {
    One(Client),
    Sentinels(SentinelClient),
    Cluster(ClusterClient),
}

impl Target {
    pub(super) fn new(server: Server) -> Target {
        Target(server)
    }

    /// A new connection. Password and certificates are read anew, away from this thread: they lie on a disk.
    pub(super) async fn connect(&self) -> Result<Link, Away> {
        let server = self.0.clone();
        let maker = tokio::task::spawn_blocking(move || maker(&server)).await;
        let maker = maker.unwrap_or_else(|panic| Err(Away::Lost(panic.to_string().into())))?;
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
        // Sentinels and nodes may have to be asked one after the other.
        let patience = if matches!(maker, Maker::One(_)) { CONNECT } else { 3 * CONNECT };
        let connecting = Box::pin(async move {
            Ok::<_, RedisError>(match maker {
                Maker::One(client) => Link::One(client.get_multiplexed_async_connection_with_config(&config).await?),
                Maker::Sentinels(mut client) => Link::One(client.get_async_connection_with_config(&config).await?),
                Maker::Cluster(client) => Link::Cluster(client.get_async_connection().await?),
            })
        });
        match tokio::time::timeout(patience, connecting).await {
            Ok(connected) => connected.map_err(Away::from),
            Err(_) => Err(Away::Lost(format!("not connected within {patience:?}").into())),
        }
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

/// Small requests go out at once.
fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
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
        None => system_authorities(),
    };
    let client_tls = match &server.client_cert {
        Some((cert, key)) => Some(ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }),
        None => None,
    };
    Ok(TlsCertificates { client_tls, root_cert: Some(root_cert) })
}

/// The authorities that this system trusts, in PEM (RFC 7468).
fn system_authorities() -> Vec<u8> {
    let mut pem = String::new();
    for authority in rustls_native_certs::load_native_certs().certs {
        pem += "-----BEGIN CERTIFICATE-----\n";
        let text = STANDARD.encode(&authority);
        for line in text.as_bytes().chunks(64) {
            pem += std::str::from_utf8(line).unwrap_or_default();
            pem.push('\n');
        }
        pem += "-----END CERTIFICATE-----\n";
    }
    pem.into_bytes()
}
