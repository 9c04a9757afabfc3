//! The one way this program makes HTTP clients.

use std::time::Duration;

use reqwest::blocking::{Client, ClientBuilder};

/// A client that says who it is, gives up on a site that does not take a connection within 20 s, and
/// sets no limit to the length of a transfer.
pub fn client() -> ClientBuilder {
    // Fails when it was done before, which is as good.
    let _done_before = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("furoshiki-builder/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(20))
        .timeout(None)
}
