//! What TLS checks trust.

use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::{Failed, failed};
use crate::config::file;
use crate::config::valid::{Http, Tls};

/// Certificates of authorities are read again after this time: they are renewed now and then.
const READ_AGAIN: Duration = Duration::from_secs(300);

/// The configurations in use.
#[derive(Debug, Default)]
pub struct Trust(Mutex<HashMap<Tls, (Instant, Arc<ClientConfig>)>>);

impl Trust {
    /// The configuration that trusts whom `tls` says.
    pub fn config(&self, tls: &Tls) -> Result<Arc<ClientConfig>, Failed> {
        // The name is no part of it.
        let key = Tls { sni: None, ..tls.clone() };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = known.get(&key).filter(|(read, _)| read.elapsed() < READ_AGAIN) {
            return Ok(Arc::clone(config));
        }
        known.retain(|_, (read, _)| read.elapsed() < READ_AGAIN);
        let config = Arc::new(configuration(tls).map_err(Failed::Ours)?);
        known.insert(key, (Instant::now(), Arc::clone(&config)));
        Ok(config)
    }
}

fn configuration(tls: &Tls) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let versions =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| error.to_string())?;
    let mut config = if tls.verify {
        builder.with_root_certificates(roots(tls.ca_file.as_deref())?).with_no_client_auth()
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth()
    };
    // Every check sees the certificate, not what a former one thought of it.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let unreadable = |error: &dyn Display| format!("ca_file {}: {error}", path.display());
            // A device has no end, and a FIFO would hold up all checks.
            let text = file::read(path).map_err(|error| unreadable(&error))?;
            for certificate in CertificateDer::pem_slice_iter(&text) {
                let added = roots.add(certificate.map_err(|error| unreadable(&error))?);
                added.map_err(|error| unreadable(&error))?;
            }
            if roots.is_empty() {
                return Err(format!("ca_file {} has no certificate", path.display()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("this system has no certificates of authorities: install them \
                            (ca-certificates), or say `ca_file`"
                    .to_owned());
            }
        }
    }
    Ok(roots)
}

/// The name that the certificate must be valid for. Without one it is the backend's address, which is not sent.
pub fn server_name(tls: &Tls, http: &Http, address: SocketAddr) -> Result<ServerName<'static>, Failed> {
    let Some(name) = tls.sni.as_deref().or(http.host.as_deref()) else {
        return Ok(ServerName::from(address.ip()));
    };
    ServerName::try_from(without_port(name).to_owned())
        .map_err(|_| Failed::Ours(format!("\"{name}\" is no name of a server")))
}

/// `host` may carry a port, as in the header.
fn without_port(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').filter(|(_, port)| !port.contains(':')).map_or(host, |(name, _)| name),
    }
}

/// What went wrong with TLS, or below it, as a person says it.
pub fn spoken(error: &io::Error) -> Failed {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(cause)) => failed(certificate(cause)),
        Some(Error::AlertReceived(alert)) => {
            failed(format!("the backend ended the TLS handshake: {alert:?}"))
        }
        Some(Error::InvalidMessage(_)) => failed("the answer is not TLS"),
        Some(other) => failed(format!("TLS: {other}")),
        None if error.kind() == io::ErrorKind::UnexpectedEof => failed("closed without a whole answer"),
        None => super::spoken(error),
    }
}

fn certificate(cause: &CertificateError) -> String {
    use CertificateError as E;
    match cause {
        E::Expired | E::ExpiredContext { .. } => "certificate expired".to_owned(),
        E::NotValidYet | E::NotValidYetContext { .. } => "certificate not valid yet".to_owned(),
        E::Revoked => "certificate revoked".to_owned(),
        E::UnknownIssuer => "certificate from an unknown issuer".to_owned(),
        E::BadSignature => "certificate with a wrong signature".to_owned(),
        E::NotValidForName => "certificate not valid for the name".to_owned(),
        E::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            format!("certificate not valid for name \"{}\", but for {names}", expected.to_str())
        }
        E::Other(other) => format!("certificate refused: {}", other.0),
        other => format!("certificate: {other}"),
    }
}

/// A name without its kind: `DnsName("www.example.net")`, `IpAddress(198.18.1.11)`.
fn bare(presented: &str) -> &str {
    let inner = presented.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')'));
    inner.map_or(presented, |inner| inner.trim_matches('"'))
}

/// Takes any certificate: those as well whose keys and versions nobody should use any more. Its signature shows only that
/// the backend has the key of a certificate that anybody can make, so it is not looked at.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
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
    fn names_of_a_certificate_are_said_without_their_kind() {
        let cases = [
            ("DnsName(\"www.example.net\")", "www.example.net"),
            ("IpAddress(198.18.1.11)", "198.18.1.11"),
            ("other", "other"),
        ];
        for (presented, name) in cases {
            assert_eq!(bare(presented), name);
        }
    }

    #[test]
    fn authorities_are_read_from_regular_files_only() {
        for path in ["/dev/null", "/"] {
            let cause = roots(Some(Path::new(path))).unwrap_err();
            assert!(cause.ends_with("not a regular file"), "{cause}");
        }
    }

    #[test]
    fn a_port_is_no_part_of_a_name() {
        let cases = [
            ("www.example.net", "www.example.net"),
            ("www.example.net:8443", "www.example.net"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
        ];
        for (host, name) in cases {
            assert_eq!(without_port(host), name);
        }
    }
}
