// SPDX-License-Identifier: MIT OR Apache-2.0
//! A real server: made ready by `xvs host setup`, and what runs on it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    ops::Deref,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Host, Method, Outcome, Process, VIP, director::API};
use crate::artifacts;

/// Behind the services.
pub struct Real {
    host: Host,
    /// Address of the real (RIP).
    pub rip: Ipv4Addr,
}

impl Real {
    pub(super) fn new(host: Host, rip: Ipv4Addr) -> Self {
        Self { host, rip }
    }

    /// Makes it ready for a forwarding method. A real for `tun` will do for `dr` as well.
    #[track_caller]
    pub fn set_up(&self, method: Method) {
        match method {
            // Its route through the director is all that it needs.
            Method::Nat | Method::Fnat => (),
            Method::Dr | Method::Tun => {
                self.host_setup(method).succeeds();
            }
        }
    }

    /// Runs `xvs host setup`.
    #[track_caller]
    pub fn host_setup(&self, method: Method) -> Outcome {
        self.xvs_host(&format!("setup {}", Self::target(method)))
    }

    /// Runs `xvs host check`.
    #[track_caller]
    pub fn host_check(&self, method: Method) -> Outcome {
        self.xvs_host(&format!("check {}", Self::target(method)))
    }

    /// Runs `xvs host restore`.
    #[track_caller]
    pub fn host_restore(&self) -> Outcome {
        self.xvs_host("restore")
    }

    fn target(method: Method) -> String {
        format!("--vip {VIP} --forward {} --interface eth0", method.as_str())
    }

    /// Runs `xvs host`, with paths of this lab where it would use those of the system.
    #[track_caller]
    pub fn xvs_host(&self, line: &str) -> Outcome {
        self.host.exec_as(&format!("xvs host {line}"), &self.xvs_host_words(line))
    }

    /// Returns `xvs host` as [`Real::xvs_host`] runs it, to be started as [`Host::run`] describes.
    pub fn xvs_host_command(&self, line: &str) -> Command {
        let words = self.xvs_host_words(line);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }

    /// Starts the agent, which follows the lab's director with what `token` holds (see
    /// [`super::Director::token`]).
    #[track_caller]
    pub fn start_agent(&self, token: &Path) -> Process {
        self.start_agent_with(token, "")
    }

    /// Starts the agent with further options.
    #[track_caller]
    pub fn start_agent_with(&self, token: &Path, options: &str) -> Process {
        let line = format!("agent --director http://{API} --token-file {} {options}", token.display());
        self.host.start("agent", &mut self.xvs_host_command(&line))
    }

    fn xvs_host_words(&self, line: &str) -> Vec<PathBuf> {
        let mut words = vec![artifacts::xvs(), "host".into()];
        words.extend(line.split_whitespace().map(PathBuf::from));
        if !["restore", "open"].iter().any(|verb| line.starts_with(verb)) {
            words.extend(["--bpffs".into(), self.bpffs()]);
        }
        if !line.starts_with("check") {
            words.extend(["--state".into(), self.host.path("host.json")]);
        }
        words
    }

    /// Starts nginx on some ports: `/` returns the name of the real, `/files/` serves the lab's files, and
    /// PUT below `/upload/` stores a file (see [`Real::uploaded`]).
    #[track_caller]
    pub fn start_nginx(&self, ports: &[u16]) -> Process {
        let config = self.host.path("nginx.conf");
        fs::write(&config, self.nginx_config(ports)).expect("the lab's folder is writable");
        fs::create_dir_all(self.host.path("www")).expect("the lab's folder is writable");
        let mut nginx = self.host.start("nginx", Command::new("nginx").arg("-c").arg(&config));
        for &port in ports {
            let address = SocketAddr::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
            nginx.is_ready_when(|| {
                self.host.run(|| TcpStream::connect(address)).map_err(|error| format!("{address}: {error}"))
            });
        }
        nginx
    }

    /// Returns the file in which nginx stores a PUT to `/upload/NAME`.
    pub fn uploaded(&self, name: &str) -> PathBuf {
        self.host.path("www").join("upload").join(name)
    }

    fn nginx_config(&self, ports: &[u16]) -> String {
        let listen: String = ports
            .iter()
            .flat_map(|port| [format!("listen {port};"), format!("listen [::]:{port};")])
            .collect();
        let (own, name) = (self.host.path("www"), self.host.name());
        let (own, files) = (own.display(), self.host.folder().join("files"));
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .flat_map(|kind| [kind.to_string(), format!("_temp_path {own}/{kind}; ")])
            .collect();
        format!(
            "daemon off; user root; worker_processes 1; error_log stderr; pid {own}/pid;
             events {{ worker_connections 4096; }}
             http {{
                 access_log off; default_type text/plain; client_max_body_size 0; {temporary}
                 server {{
                     {listen}
                     location = / {{ return 200 \"{name}\\n\"; }}
                     location /files/ {{ alias {files}/; }}
                     location /upload/ {{ root {own}; dav_methods PUT; create_full_put_path on; }}
                 }}
             }}",
            files = files.display(),
        )
    }

    /// Returns the bpffs in which `xvs host` pins the decapsulator.
    pub(super) fn bpffs(&self) -> PathBuf {
        self.host.folder().join("bpf").join(self.host.name())
    }
}

impl Deref for Real {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}
