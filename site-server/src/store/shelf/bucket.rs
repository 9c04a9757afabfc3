//! A bucket of a server that speaks S3, as `site.toml` describes it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder,
    prefix::PrefixStore,
};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::{super::StoreError, first_line};

/// How long a bucket may stay away, by all tries together, before a request fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// `[objects]` of `site.toml`: where sealed objects, releases and chunks of images lie. Nothing there: files in the data folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectsConfig {
    /// `https://HOST[:PORT]/BUCKET[/PREFIX]`; `http://` only where nobody listens: lengths and names would be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<String>,
    /// Its region; `us-east-1` when not said, as most servers that are not Amazon's want it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Name of the key that requests are signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
    /// File with the secret of that key in its first line, as systemd's `LoadCredential=` makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Certificates of the CA that the server's certificate comes from, PEM; the machine's when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl ObjectsConfig {
    /// Whether they are files in the data folder.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The bucket, or what lies in it below a prefix. Asks nobody yet.
pub(super) fn bucket(
    address: &str,
    config: &ObjectsConfig,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let url: Url = address
        .parse()
        .map_err(|_| StoreError::Bucket("its address is no URL"))?;
    let plain = url.scheme() == "http";
    if !plain && url.scheme() != "https" {
        return Err(StoreError::Bucket(
            "its address does not begin with https://",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(StoreError::Bucket(
            "its address holds more than host, bucket and prefix; the key belongs into access_key and secret_file",
        ));
    }
    let path = url.path().trim_matches('/');
    let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
    if name.is_empty() {
        return Err(StoreError::Bucket("its address names no bucket"));
    }
    let (Some(access_key), Some(secret_file)) = (&config.access_key, &config.secret_file) else {
        return Err(StoreError::Bucket("access_key or secret_file is missing"));
    };
    let secret = first_line(secret_file)?;
    // The client of a bucket asks for it, whatever its address; one that is there already is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut client = ClientOptions::new()
        .with_allow_http(plain)
        .with_connect_timeout(Duration::from_secs(5));
    if let Some(file) = &config.ca_file {
        let pem = std::fs::read(file).map_err(StoreError::io("read certificates in", file))?;
        let certificates =
            Certificate::from_pem_bundle(&pem).map_err(StoreError::objects("use ca_file"))?;
        client = client.with_no_system_certificates(true);
        for certificate in certificates {
            client = client.with_root_certificate(certificate);
        }
    }
    let s3 = AmazonS3Builder::new()
        .with_endpoint(url.origin().ascii_serialization())
        .with_bucket_name(name)
        .with_region(config.region.as_deref().unwrap_or("us-east-1"))
        .with_access_key_id(access_key)
        .with_secret_access_key(secret)
        .with_allow_http(plain)
        .with_client_options(client)
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 10,
            retry_timeout: PATIENCE,
        })
        .build()
        .map_err(StoreError::objects("use [objects] of site.toml"))?;
    Ok(if prefix.is_empty() {
        Arc::new(s3)
    } else {
        Arc::new(PrefixStore::new(s3, prefix))
    })
}
