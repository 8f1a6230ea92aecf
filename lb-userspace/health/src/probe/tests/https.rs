// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of HTTPS checks, with certificates made here.
#![forbid(unsafe_code)]

use std::io::Write as _;

use lb_model::check::CertificatePolicy;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::NamedTempFile;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

use super::*;

/// A CA, and the file with its certificate.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: NamedTempFile,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(issuer.pem().as_bytes()).unwrap();
        Self { issuer, file }
    }

    /// Starts a server with a certificate for this name, valid until the end of a year.
    async fn serve(&self, name: &str, year: i32) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        serve(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                // A probe that refuses the certificate ends the handshake.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = [0; 4096];
                assert!(stream.read(&mut request).await.is_ok());
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await);
            }
        })
        .await
    }

    /// Returns a check that trusts this CA only.
    fn check(&self, host: &str) -> Check {
        let ca_file = Some(self.file.path().to_str().unwrap().to_owned());
        let mut check = Check { ca_file, host: Some(host.into()), ..check(CheckType::Https) };
        // Handshakes without optimisation, on a busy machine.
        check.timing.timeout = Period::from_millis(2000);
        check
    }
}

#[tokio::test]
async fn a_valid_certificate_is_accepted_and_the_steps_are_told() {
    let authority = Authority::new("one");
    let address = authority.serve("www.example.org", 2100).await;
    let (result, steps) = probe_with_steps(&authority.check("www.example.org:443"), address).await;
    assert_eq!((result.code, &*result.text), (ResultCode::L7Ok, "HTTP 200"));
    assert!(steps[2].starts_with("TLSv1.3 handshake ended after "), "{steps:?}");
    let sni = Check { sni: Some("www.example.org".into()), ..authority.check("other.example.org") };
    assert_eq!(probe_address(&sni, address).await.0, ResultCode::L7Ok);
    let by_address = Check { host: None, ..authority.check("") };
    let address = authority.serve("127.0.0.1", 2100).await;
    assert_eq!(probe_address(&by_address, address).await.0, ResultCode::L7Ok);
}

#[tokio::test]
async fn an_invalid_certificate_is_explained_and_accepted_only_if_wanted() {
    let (authority, other) = (Authority::new("one"), Authority::new("other"));
    let valid = authority.serve("www.example.org", 2100).await;
    let expired = authority.serve("www.example.org", 2020).await;
    for (check, address, why) in [
        (authority.check("www.example.org"), expired, "the certificate has expired"),
        (
            authority.check("example.com"),
            valid,
            "the certificate is for www.example.org, not for example.com",
        ),
        (other.check("www.example.org"), valid, "the certificate is not of a trusted CA"),
    ] {
        let (code, text) = probe_address(&check, address).await;
        assert_eq!(code, ResultCode::L6Response, "{text}");
        assert!(text.contains(why), "{text}");
        let any = Check { certificate: CertificatePolicy::None, ..check };
        assert_eq!(probe_address(&any, address).await.0, ResultCode::L7Ok);
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_a_silent_one() {
    let authority = Authority::new("one");
    let mut check = authority.check("www.example.org");
    let plain = serve_bytes("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let found = probe_address(&check, plain).await;
    assert_eq!(found, (ResultCode::L6Response, "the answer is not TLS".to_owned()));
    let closing = probe_address(&check, serve_bytes("").await).await;
    let text = "the connection was closed during the TLS handshake";
    assert_eq!(closing, (ResultCode::L6Response, text.to_owned()));
    check.timing.timeout = Period::from_millis(300);
    let found = probe_address(&check, serve_nothing().await).await;
    let text = "connected, but the TLS handshake did not end within 300ms";
    assert_eq!(found, (ResultCode::L6Timeout, text.to_owned()));
}

#[test]
fn a_missing_ca_file_is_named() {
    let mut check = Authority::new("one").check("www.example.org");
    check.ca_file = Some("/nonexistent/ca.pem".into());
    let why = Prepared::new(&Arc::new(check)).unwrap_err();
    assert!(why.starts_with("cannot read the CA file /nonexistent/ca.pem: "), "{why}");
}
