// SPDX-License-Identifier: MIT OR Apache-2.0
//! TLS of `https` checks.
#![forbid(unsafe_code)]

use std::{io, net::IpAddr, sync::Arc};

use lb_model::{
    check::{CertificatePolicy, Check},
    health::ResultCode,
};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
        client::{
            Resumption,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    },
};

use super::{
    Outcome,
    connect::{self, words},
    trace::{Stage, Trace},
};

/// Client side of TLS under one definition.
pub(super) struct Tls {
    connector: TlsConnector,
    /// Name in the handshake and in the certificate; `None`: the address of the probe.
    name: Option<ServerName<'static>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the trusted certificates.
    pub fn new(check: &Check) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let mut config = match check.certificate {
            CertificatePolicy::Verify => builder.with_root_certificates(roots(check)?),
            CertificatePolicy::None => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAll(provider)))
            }
        }
        .with_no_client_auth();
        // A resumed session shows no certificate, so an expired one would go unnoticed.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = check.sni.as_deref().or(check.host.as_deref().map(without_port));
        let name = name.map(|name| {
            let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
            ServerName::try_from(name.clone()).map_err(|_| format!("'{name}' is no name of a TLS server"))
        });
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name: name.transpose()? })
    }

    /// Carries out the handshake.
    pub async fn connect(
        &self,
        stream: TcpStream,
        ip: IpAddr,
        trace: &Trace,
    ) -> Result<TlsStream<TcpStream>, Outcome> {
        trace.enter(Stage::Tls);
        // Otherwise, the request waits until the server acknowledges the end of the handshake.
        stream.set_nodelay(true).map_err(|error| connect::no_socket(&error))?;
        let name = self.name.clone().unwrap_or_else(|| ServerName::from(ip));
        let stream = self.connector.connect(name, stream).await;
        let stream = stream.map_err(|error| Outcome::new(ResultCode::L6Response, why(&error)))?;
        trace.step(|| {
            let (_, session) = stream.get_ref();
            let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
            format!("{} handshake ended after {}", version.replace('_', "."), trace.elapsed())
        });
        Ok(stream)
    }
}

/// Returns the trusted CAs of a check.
fn roots(check: &Check) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &check.ca_file {
        let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        let certificates: Vec<_> =
            certificates.map_err(|error| format!("cannot read the CA file {path}: {error}"))?;
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(format!("the CA file {path} has no certificate"));
        }
        return Ok(roots);
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(
            "this host has no certificates of trusted CAs: install ca-certificates or set ca-file".into()
        );
    }
    Ok(roots)
}

/// Returns a host without the port behind it.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
        }
        _ => host,
    }
}

/// Returns the reason of a failed handshake.
fn why(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let certificate = match inner {
        Some(Error::InvalidCertificate(certificate)) => certificate,
        Some(Error::InvalidMessage(_)) => return "the answer is not TLS".to_owned(),
        Some(Error::AlertReceived(alert)) => {
            return format!("the server refused the TLS handshake: {alert:?}");
        }
        Some(other) => return format!("the TLS handshake failed: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            return "the connection was closed during the TLS handshake".to_owned();
        }
        None => return format!("the TLS handshake failed: {}", words(error)),
    };
    match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet".to_owned()
        }
        CertificateError::UnknownIssuer => "the certificate is not of a trusted CA".to_owned(),
        CertificateError::NotValidForName => "the certificate is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            format!("the certificate is for {}, not for {}", names.join(", "), expected.to_str())
        }
        CertificateError::BadSignature => "the certificate has a wrong signature".to_owned(),
        CertificateError::Revoked => "the certificate is revoked".to_owned(),
        other => format!("the certificate is invalid: {other}"),
    }
}

/// Returns a name in a certificate, which rustls shows as `DnsName("www.example.org")`.
fn bare(name: &str) -> &str {
    name.strip_prefix("DnsName(\"").and_then(|name| name.strip_suffix("\")")).unwrap_or(name)
}

/// Accepts every certificate and signature.
#[derive(Debug)]
struct AcceptAll(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_loses_its_port() {
        for (host, name) in [
            ("www.example.org:443", "www.example.org"),
            ("www.example.org", "www.example.org"),
            ("192.0.2.1:443", "192.0.2.1"),
            ("[2001:db8::1]:443", "[2001:db8::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(without_port(host), name);
        }
    }
}
