// SPDX-License-Identifier: MIT OR Apache-2.0
//! TLS of the TCP listener. The certificate can be replaced while connections are open.
#![forbid(unsafe_code)]

use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    Accept, TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};

use super::{caller::Peer, listener::Listen};
use lb_model::failure::Failure;

/// Files of a listener with TLS.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificate of the listener, then those that lead to its CA (PEM).
    pub cert: PathBuf,
    /// Private key of the certificate (PEM).
    pub key: PathBuf,
    /// CAs of clients (PEM): each client needs a certificate of one of them.
    pub client_ca: Option<PathBuf>,
}

/// TLS of a listener.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If a file cannot be used, or others can read the key.
    pub fn read(files: TlsFiles) -> Result<Self, Failure> {
        let config = Arc::new(RwLock::new(Arc::new(load(&files)?)));
        Ok(Self { files, config })
    }

    /// Reads the files again, for later connections.
    ///
    /// # Errors
    /// As [`read`](Self::read); then the previous certificate stays.
    pub fn reload(&self) -> Result<(), Failure> {
        let config = Arc::new(load(&self.files)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Returns the certificates of a PEM file.
///
/// # Errors
/// If it cannot be read, or has none.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let all = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|error| unusable(file, &error))?;
    if all.is_empty() { Err(unusable(file, &"it has no certificate")) } else { Ok(all) }
}

fn unusable(file: &Path, why: &dyn fmt::Display) -> Failure {
    Failure::failed(format!("cannot use {} for TLS: {why}", file.display()))
        .hint("it must be a PEM file that the daemon, which is root without further capabilities, can read")
}

fn load(files: &TlsFiles) -> Result<ServerConfig, Failure> {
    let TlsFiles { cert, key, client_ca } = files;
    let mode = fs::metadata(key).map_err(|error| unusable(key, &error))?.permissions().mode();
    if mode & 0o007 != 0 {
        let why = "every user can read or change the private key";
        return Err(unusable(key, &why).hint(format!("`chmod 600 {}`", key.display())));
    }
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(cert, &error))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for ca in certificates(file)? {
                roots.add(ca).map_err(|error| unusable(file, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| unusable(file, &error))?)
        }
    };
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
    let mut config =
        builder.with_single_cert(certificates(cert)?, secret).map_err(|error| unusable(cert, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A TCP listener with TLS. The handshake is part of a connection, so that a slow one delays no other.
pub struct TlsListener {
    listener: TcpListener,
    tls: Tls,
}

impl TlsListener {
    /// Adds TLS to a listener.
    #[must_use]
    pub const fn new(listener: TcpListener, tls: Tls) -> Self {
        Self { listener, tls }
    }
}

impl Listen for TlsListener {
    type Io = TlsConnection;

    async fn accept(&mut self) -> io::Result<(Self::Io, Peer)> {
        let (stream, address) = self.listener.accept().await?;
        let connection = TlsConnection::Begins(Box::new(self.tls.acceptor().accept(stream)));
        Ok((connection, Peer::Tcp(address)))
    }
}

/// A connection with TLS.
pub enum TlsConnection {
    /// The handshake is not complete.
    Begins(Box<Accept<TcpStream>>),
    /// The handshake is complete.
    Open(Box<TlsStream<TcpStream>>),
}

impl TlsConnection {
    /// Returns the stream after the handshake.
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Pin<&mut TlsStream<TcpStream>>>> {
        if let Self::Begins(accept) = self {
            match Pin::new(accept.as_mut()).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(stream)) => *self = Self::Open(Box::new(stream)),
            }
        }
        match self {
            Self::Open(stream) => Poll::Ready(Ok(Pin::new(stream.as_mut()))),
            Self::Begins(_) => Poll::Pending,
        }
    }
}

/// Returns the stream after the handshake, or returns from the function.
macro_rules! open {
    ($self:ident, $context:ident) => {
        match $self.poll_open($context) {
            Poll::Ready(Ok(stream)) => stream,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    };
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        open!(self, context).poll_read(context, buffer)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        open!(self, context).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Open(stream) => Pin::new(stream.as_mut()).poll_flush(context),
            Self::Begins(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Open(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
            Self::Begins(_) => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let files = TlsFiles { cert: cert.clone(), key: key.clone(), client_ca: None };
        let why = |files: &TlsFiles| load(files).map(drop).unwrap_err();
        assert!(why(&files).message.contains("key.pem"));
        fs::write(&key, "no key").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(why(&files).hint.unwrap().contains("chmod 600"));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(why(&files).message.contains("key.pem"), "{}", why(&files));
        fs::write(&cert, "no certificate").unwrap();
        assert!(certificates(&cert).unwrap_err().message.contains("no certificate"));
    }
}
