//! The proxies that are measured: how each is found, configured and started.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use integration::agent::free_ports;
use integration::measure::program::Program;
use integration::measure::system::Outcome;
use integration::process::root;

use super::mode::Mode;
use super::template::{Values, fill};

/// A proxy.
pub(crate) struct Peer {
    /// Its name in tables.
    pub(crate) name: &'static str,
    program: &'static str,
    /// The arguments that make it print its version.
    version: &'static [&'static str],
    modes: &'static [Mode],
}

/// What proxies without a cache can do.
const MOST: &[Mode] = &[Mode::Bare, Mode::Full, Mode::Logged, Mode::Idle, Mode::Bodies];
const ALL: &[Mode] = &[Mode::Bare, Mode::Full, Mode::Cached, Mode::Logged, Mode::Idle, Mode::Bodies, Mode::Services];

/// The gateway.
pub(crate) const LICTOR: &str = "Lictor";
/// The gateway as `cargo pgo` builds it.
const LICTOR_PGO: &str = "Lictor-PGO";
/// The proxy that tables compare the others with.
pub(crate) const BASELINE: &str = "nginx";

/// All proxies, in the order of tables.
pub(crate) const PEERS: [Peer; 8] = [
    Peer { name: LICTOR, program: "lictor", version: &["--version"], modes: ALL },
    Peer { name: LICTOR_PGO, program: "lictor", version: &["--version"], modes: ALL },
    Peer { name: BASELINE, program: "nginx", version: &["-v"], modes: ALL },
    Peer { name: "HAProxy", program: "haproxy", version: &["-v"], modes: ALL },
    Peer { name: "Envoy", program: "envoy", version: &["--version"], modes: MOST },
    Peer { name: "Traefik", program: "traefik", version: &["version"], modes: MOST },
    Peer { name: "Caddy", program: "caddy", version: &["version"], modes: MOST },
    Peer { name: "Fabio", program: "fabio", version: &["-v"], modes: &[Mode::Bare, Mode::Idle, Mode::Bodies] },
];

/// A proxy that this machine has.
pub(crate) struct Found {
    pub(crate) peer: &'static Peer,
    program: PathBuf,
    /// The version that it prints.
    pub(crate) version: String,
}

/// A proxy that runs.
pub(crate) struct Running {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
}

/// How a proxy is to be started.
#[derive(Clone, Copy)]
pub(crate) struct StartOptions<'a> {
    pub(crate) mode: Mode,
    pub(crate) cpus: &'a [usize],
    /// The ports of the two instances.
    pub(crate) backend: [u16; 2],
    pub(crate) services: usize,
}

impl Peer {
    /// Looks for the proxy on this machine; `lictor` is the gateway that was just built.
    pub(crate) fn find(&'static self, lictor: &Path) -> Option<Found> {
        let program = match self.name {
            LICTOR => lictor.to_owned(),
            LICTOR_PGO => pgo_build(lictor)?,
            _ => on_path(self.program)?,
        };
        let output = Command::new(&program).args(self.version).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let version = version(&String::from_utf8_lossy(&text));
        Some(Found { peer: self, program, version })
    }
}

/// The program that `cargo pgo` built, unless a source was changed after that.
fn pgo_build(lictor: &Path) -> Option<PathBuf> {
    let program = lictor.ancestors().nth(2)?.join("pgo/lictor");
    let built = program.metadata().ok()?.modified().ok()?;
    let sources = ["Cargo.lock", "Cargo.toml", "rust-toolchain.toml", ".cargo", "src"].map(|name| root().join(name));
    (last_change(&sources)? <= built).then_some(program)
}

/// When the last of these files, or of the files in these folders, was changed.
fn last_change(paths: &[PathBuf]) -> Option<SystemTime> {
    let changed = |path: &PathBuf| match fs::read_dir(path) {
        Ok(inside) => last_change(&inside.flatten().map(|entry| entry.path()).collect::<Vec<_>>()),
        Err(_) => path.metadata().ok()?.modified().ok(),
    };
    paths.iter().filter_map(changed).max()
}

/// Looks for a program in the folders of `PATH`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The version in what a program prints: the first number with a dot in it.
fn version(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c == '/').map(|word| word.trim_start_matches('v'));
    let mut numbers = words.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
    numbers.next().unwrap_or("of an unknown version").to_owned()
}

impl Found {
    /// Whether the proxy can be measured in this mode.
    pub(crate) fn can(&self, mode: Mode) -> bool {
        self.peer.modes.contains(&mode)
    }

    /// Starts the proxy, and waits until it answers `request` with 200.
    pub(crate) fn start(&self, folder: &Path, options: StartOptions<'_>, request: &[u8]) -> Outcome<Running> {
        let folder = folder.join(self.peer.program);
        // Files of the round before would serve as this round's cache and log.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let [port, other] = free_ports();
        let command = self.command(&folder, options, port, other)?;
        let out = match options.mode {
            Mode::Logged => fs::File::create(folder.join("access.log")).map_err(|error| error.to_string())?.into(),
            _ => Stdio::null(),
        };
        let stderr = folder.join("stderr");
        let mut program = Program::start(self.peer.name, options.cpus, &command, out, &stderr)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        program.until(&stderr, || super::transfers::answers(address, request))?;
        Ok(Running { program, address })
    }

    /// Writes the proxy's configuration. Returns the command that starts it.
    fn command(&self, folder: &Path, options: StartOptions<'_>, port: u16, other: u16) -> Outcome<Vec<String>> {
        let StartOptions { mode, backend, services, .. } = options;
        let path = folder.display().to_string();
        let values = Values { folder: &path, port, backend, services };
        let write = |name: &str, text: String| {
            let file = folder.join(name);
            fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
            Ok::<String, String>(file.display().to_string())
        };
        let file = |name: &str, template: &str| write(name, fill(template, mode, &values));
        let arguments: Vec<String> = match self.peer.program {
            "lictor" => {
                let file = write("lictor.toml", lictor_config(options, port))?;
                ["run", "--config", &file].map(String::from).into()
            }
            "nginx" => {
                let file = file("nginx.conf", include_str!("../../../../measure/peers/nginx.conf"))?;
                ["-e", "stderr", "-c", &file].map(String::from).into()
            }
            "haproxy" => {
                let file = file("haproxy.cfg", include_str!("../../../../measure/peers/haproxy.cfg"))?;
                ["-f", &file].map(String::from).into()
            }
            "envoy" => {
                let file = file("envoy.yaml", include_str!("../../../../measure/peers/envoy.yaml"))?;
                let fixed = ["--concurrency", "1", "-l", "critical", "--disable-hot-restart", "-c", &file];
                fixed.map(String::from).into()
            }
            "traefik" => {
                file("routes.yml", include_str!("../../../../measure/peers/traefik_routes.yml"))?;
                let file = file("traefik.yml", include_str!("../../../../measure/peers/traefik.yml"))?;
                vec![format!("--configFile={file}")]
            }
            "caddy" => {
                let file = file("Caddyfile", include_str!("../../../../measure/peers/Caddyfile"))?;
                ["run", "--adapter", "caddyfile", "--config", &file].map(String::from).into()
            }
            _ => fabio(options, port, other),
        };
        Ok([vec![self.program.display().to_string()], arguments].concat())
    }
}

/// Fabio's arguments, which include its routes: it has no file for them.
fn fabio(options: StartOptions<'_>, port: u16, other: u16) -> Vec<String> {
    let route = |to: u16| {
        let strip = "opts \"strip=/api/user_service\"";
        format!("route add user_service /api/user_service/ http://127.0.0.1:{to}/ {strip}")
    };
    let routes = options.backend.map(route).join("\n");
    let (clients, pages) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{other}"));
    [
        ["-proxy.addr", &clients],
        ["-ui.addr", &pages],
        ["-log.level", "WARN"],
        ["-proxy.maxconn", "512"],
        ["-registry.backend", "static"],
        ["-registry.static.routes", &routes],
    ]
    .concat()
    .into_iter()
    .chain(["-insecure"])
    .map(String::from)
    .collect()
}

/// The gateway's configuration: a file of `measure/` with the ports of this run and what the mode adds.
fn lictor_config(options: StartOptions<'_>, port: u16) -> String {
    let [one, two] = options.backend;
    let instances = format!("instances = [\"127.0.0.1:{one}\", \"127.0.0.1:{two}\"]");
    let text = match options.mode {
        Mode::Full => include_str!("../../../../measure/full.toml"),
        Mode::Cached => include_str!("../../../../measure/cached.toml"),
        _ => include_str!("../../../../measure/bare.toml"),
    };
    let mut text = text
        .replace("instances = [\"127.0.0.1:9101\", \"127.0.0.1:9102\"]", &instances)
        .replace("workers = 1", &format!("workers = {}", options.cpus.len()));
    for fixed in ["8101", "8102", "8103"] {
        // The other proxies keep idle connections for 600 s, too; and the scenario `idle` opens more than 10,000.
        let idle = "keep_alive = \"600s\"\nmax_connections = 20000";
        text = text.replace(&format!("\"127.0.0.1:{fixed}\""), &format!("\"127.0.0.1:{port}\"\n{idle}"));
    }
    if options.mode == Mode::Logged {
        text = text.replace("access = false", "access = true");
    }
    if options.mode == Mode::Services {
        for number in 0..options.services {
            text += &format!("\n[[service]]\nname = \"{}\"\n{instances}\n", super::template::service(number));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say_of_themselves() {
        for (text, expected) in [
            ("nginx version: nginx/1.22.1", "1.22.1"),
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", "2.6.12-1+deb12u4"),
            ("\nenvoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL", "1.40.0"),
            ("Version:      3.7.15\nCodename:     langres\n", "3.7.15"),
            ("v2.11.7 h1:yj0Y4fYZGPkSvibBJ1sTWE33xC0fxztVyXEW5iIdUT4=", "2.11.7"),
            ("lictor 0.1.0", "0.1.0"),
        ] {
            assert_eq!(version(text), expected);
        }
    }

    #[test]
    fn our_configurations_get_the_ports_of_this_run() {
        for mode in ALL {
            let text = lictor_config(StartOptions { mode: *mode, cpus: &[0, 1], backend: [11, 12], services: 2 }, 7);
            assert!(text.contains("address = \"127.0.0.1:7\""), "{text}");
            assert!(text.contains("instances = [\"127.0.0.1:11\", \"127.0.0.1:12\"]"), "{text}");
            assert!(text.contains("workers = 2") && !text.contains("910") && !text.contains("810"), "{text}");
            assert_eq!(text.contains("access = true"), *mode == Mode::Logged);
            assert_eq!(text.contains("service_1"), *mode == Mode::Services);
        }
    }
}
