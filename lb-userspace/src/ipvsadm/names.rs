// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of hosts and ports, through the system's resolver.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    net::{IpAddr, Ipv4Addr},
    process::{Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use lb_model::{Protocol, names};

/// A resolver of names.
pub trait Names {
    /// Returns the address of a host.
    fn address(&self, host: &str) -> Option<Ipv4Addr>;
    /// Returns the port of a service in /etc/services.
    fn port(&self, service: &str, protocol: Protocol) -> Option<u16>;
    /// Returns the name of an address.
    fn host(&self, address: IpAddr) -> Option<String>;
    /// Returns the name of a port.
    fn service(&self, port: u16, protocol: Protocol) -> Option<String>;
    /// Resolves the names of addresses, so that [`Names::host`] can return them.
    fn look_up(&mut self, _: BTreeSet<IpAddr>) {}
}

/// A resolver without names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nameless;

impl Names for Nameless {
    fn address(&self, _: &str) -> Option<Ipv4Addr> {
        None
    }

    fn port(&self, _: &str, _: Protocol) -> Option<u16> {
        None
    }

    fn host(&self, _: IpAddr) -> Option<String> {
        None
    }

    fn service(&self, _: u16, _: Protocol) -> Option<String> {
        None
    }
}

/// Time for which a list waits for names of addresses; addresses without a name by then are shown as numbers.
const PATIENCE: Duration = Duration::from_secs(5);
/// Number of names that are resolved in parallel.
const WORKERS: usize = 16;

/// Resolver of the system's names.
#[derive(Debug)]
pub struct System {
    services: Vec<Named>,
    hosts: HashMap<IpAddr, String>,
}

impl System {
    /// Reads /etc/services; without it, ports have no names.
    #[must_use]
    pub fn new() -> Self {
        let text = fs::read_to_string("/etc/services").unwrap_or_default();
        Self { services: parse_services(&text), hosts: HashMap::new() }
    }

    /// Resolves the names of all addresses in parallel: a list with a thousand reals must not wait for each.
    fn ask_for(&mut self, addresses: BTreeSet<IpAddr>) {
        let deadline = Instant::now() + PATIENCE;
        let workers = addresses.len().min(WORKERS);
        let queue = Arc::new(Mutex::new(addresses.into_iter().collect::<Vec<_>>()));
        let (send, receive) = mpsc::channel();
        for _ in 0..workers {
            let (queue, send) = (Arc::clone(&queue), send.clone());
            // Threads that still wait after the deadline are abandoned: the process ends soon.
            thread::spawn(move || {
                while let Some(address) = queue.lock().ok().and_then(|mut queue| queue.pop()) {
                    if send.send((address, name_of(address))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        while let Some(left) = deadline.checked_duration_since(Instant::now())
            && let Ok((address, name)) = receive.recv_timeout(left)
        {
            self.hosts.extend(name.map(|name| (address, name)));
        }
    }
}

impl Default for System {
    fn default() -> Self {
        Self::new()
    }
}

impl Names for System {
    fn address(&self, host: &str) -> Option<Ipv4Addr> {
        names::addresses(host).ok()?.into_iter().find_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    fn port(&self, service: &str, protocol: Protocol) -> Option<u16> {
        let is_it = |named: &&Named| {
            named.protocol == protocol.as_str() && named.names.iter().any(|name| name == service)
        };
        self.services.iter().find(is_it).map(|named| named.port)
    }

    fn host(&self, address: IpAddr) -> Option<String> {
        self.hosts.get(&address).cloned()
    }

    fn service(&self, port: u16, protocol: Protocol) -> Option<String> {
        let named =
            self.services.iter().find(|named| named.port == port && named.protocol == protocol.as_str());
        named?.names.first().cloned()
    }

    fn look_up(&mut self, addresses: BTreeSet<IpAddr>) {
        self.ask_for(addresses);
    }
}

/// Returns the name of an address, from `getent`, which uses all sources in /etc/nsswitch.conf.
fn name_of(address: IpAddr) -> Option<String> {
    let mut getent = Command::new("getent");
    let output = getent.args(["hosts", &address.to_string()]).stdin(Stdio::null()).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    line.split_whitespace().nth(1).map(str::to_owned)
}

/// A line of /etc/services.
#[derive(Debug, Eq, PartialEq)]
struct Named {
    port: u16,
    protocol: String,
    /// Name, then aliases.
    names: Vec<String>,
}

fn parse_services(text: &str) -> Vec<Named> {
    let line = |line: &str| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let name = words.next()?;
        let (port, protocol) = words.next()?.split_once('/')?;
        let names = std::iter::once(name).chain(words).map(str::to_owned).collect();
        Some(Named { port: port.parse().ok()?, protocol: protocol.to_owned(), names })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_the_names_of_etc_services() {
        let text = "# comment\nhttp\t80/tcp\twww # World Wide Web\ndomain 53/tcp\ndomain 53/udp\nbad line\n";
        let system = System { services: parse_services(text), hosts: HashMap::new() };
        assert_eq!(system.port("www", Protocol::Tcp), Some(80));
        assert_eq!(system.port("http", Protocol::Udp), None);
        assert_eq!(system.service(53, Protocol::Udp).as_deref(), Some("domain"));
        assert_eq!(system.service(80, Protocol::Tcp).as_deref(), Some("http"));
        assert_eq!(system.service(81, Protocol::Tcp), None);
    }

    #[test]
    fn this_host_has_an_address() {
        assert_eq!(System::new().address("localhost"), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(System::new().address("no.such.host.invalid"), None);
    }
}
