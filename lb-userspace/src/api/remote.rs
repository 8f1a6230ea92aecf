// SPDX-License-Identifier: MIT OR Apache-2.0
//! A daemon on another machine: its address, TLS, and the token.
#![forbid(unsafe_code)]

use std::{
    fmt, fs, io,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{PrivateKeyDer, ServerName, pem::PemObject as _},
    },
};

use super::{client::Io, tls::certificates};
use lb_model::failure::Failure;

/// Port of a URL without one.
const PORT: u16 = 9472;

/// Options of the command line about a daemon on another machine.
#[derive(Clone, Debug, Default)]
pub struct RemoteOptions {
    /// URL of its listener.
    pub server: String,
    /// File with the token.
    pub token_file: Option<PathBuf>,
    /// Trusted CAs (PEM) in place of those of this host.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key (PEM) of this client.
    pub client_cert: Option<PathBuf>,
}

/// A daemon on another machine.
#[derive(Clone)]
pub struct Remote {
    url: String,
    /// Name and port, as in the header `Host`.
    authority: String,
    host: String,
    port: u16,
    token: Option<String>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("url", &self.url).finish_non_exhaustive()
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Remote {
    /// Reads the files of the options.
    ///
    /// # Errors
    /// If the URL is invalid, a file cannot be used, or the token would cross the network in the clear.
    pub fn new(options: &RemoteOptions) -> Result<Self, Failure> {
        let url = options.server.trim_end_matches('/').to_owned();
        let (secure, host, port) = parse(&url)?;
        let token = options.token_file.as_deref().map(token).transpose()?;
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if token.is_some() && !secure && !is_here {
            return Err(Failure::wrong_input(format!(
                "the token would cross the network to {url} in the clear"
            ))
            .hint("use https://; `xvs run` has --http-cert and --http-key for it"));
        }
        let tls = if secure { Some(tls(&host, options)?) } else { None };
        let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        Ok(Self { url, authority: format!("{shown}:{port}"), host, port, token, tls })
    }

    /// Returns the value of the header `Host`.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the value of the header `Authorization`.
    pub(super) fn authorization(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {token}"))
    }

    /// Connects.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Io>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some((connector, name)) => Ok(Box::new(connector.connect(name.clone(), stream).await?)),
        }
    }
}

/// Parses `https://HOST[:PORT]` or `http://HOST[:PORT]`.
fn parse(url: &str) -> Result<(bool, String, u16), Failure> {
    let wrong = || {
        Failure::wrong_input(format!("'{url}' is not the URL of a daemon"))
            .hint("write https://HOST:PORT, as in `--server https://lb1.example.net:9472`")
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let secure = match scheme {
        "https" => true,
        "http" => false,
        _ => return Err(wrong()),
    };
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or_else(wrong)?)),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(PORT), str::parse).map_err(|_| wrong())?;
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if host.is_empty() || !host.chars().all(is_host) {
        return Err(wrong());
    }
    Ok((secure, host.to_owned(), port))
}

/// Reads the token of this client: the last word of the file's only line, which may be a line of `--tokens`.
fn token(file: &Path) -> Result<String, Failure> {
    let shown = file.display();
    let failed =
        |why: &dyn fmt::Display| Failure::failed(format!("cannot use the token file {shown}: {why}"));
    let mode = fs::metadata(file).map_err(|error| failed(&error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(
            failed(&"others than its owner can read or change it").hint(format!("`chmod 600 {shown}`"))
        );
    }
    let text = fs::read_to_string(file).map_err(|error| failed(&error))?;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines[..] {
        [line] => Ok(line.split_whitespace().last().unwrap_or_default().to_owned()),
        _ => Err(failed(&"it must have one line: a secret, or NAME ROLE SECRET")),
    }
}

fn tls(host: &str, options: &RemoteOptions) -> Result<(TlsConnector, ServerName<'static>), Failure> {
    let failed = |error: &dyn fmt::Display| Failure::failed(format!("cannot use TLS with {host}: {error}"));
    let mut roots = RootCertStore::empty();
    match &options.ca_file {
        Some(file) => drop(roots.add_parsable_certificates(certificates(file)?)),
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots);
    let config = match &options.client_cert {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let key = PrivateKeyDer::from_pem_file(file).map_err(|error| failed(&error))?;
            builder.with_client_auth_cert(certificates(file)?, key).map_err(|error| failed(&error))?
        }
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(&error))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_daemons() {
        let parsed =
            |url: &str| parse(url).ok().map(|(secure, host, port)| format!("{secure} {host} {port}"));
        assert_eq!(parsed("https://lb1.example.net").unwrap(), "true lb1.example.net 9472");
        assert_eq!(parsed("http://10.0.0.1:80").unwrap(), "false 10.0.0.1 80");
        assert_eq!(parsed("https://[2001:db8::1]:443").unwrap(), "true 2001:db8::1 443");
        assert_eq!(parsed("https://[2001:db8::1]").unwrap(), "true 2001:db8::1 9472");
        for wrong in ["", "lb1", "ftp://lb1", "https://", "https://a b", "https://lb1:x", "https://lb1/v1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_not_sent_in_the_clear() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "alice write 0123456789abcdef\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let options = |server: &str| RemoteOptions {
            server: server.to_owned(),
            token_file: Some(file.clone()),
            ..RemoteOptions::default()
        };
        assert!(Remote::new(&options("http://192.0.2.1")).unwrap_err().message.contains("in the clear"));
        let remote = Remote::new(&options("http://127.0.0.1:1")).unwrap();
        assert_eq!(remote.authorization().unwrap(), "Bearer 0123456789abcdef");
        assert!(!format!("{remote:?}").contains("0123"));
        fs::write(&file, "one\ntwo").unwrap();
        assert!(token(&file).unwrap_err().message.contains("one line"));
    }
}
