//! What an operator does at a site, by its commands.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::TestSite;
use crate::card::TestCard;
use crate::child;
use crate::place;
use crate::release::Release;
use crate::shared_pc::Person;

/// Makes every site know every other.
///
/// # Errors
/// A site refuses.
pub fn acquaint(sites: &[TestSite]) -> Result<()> {
    for site in sites {
        for other in sites.iter().filter(|other| other.id != site.id) {
            site.add_peer(other)?;
        }
    }
    Ok(())
}

/// Holds that no site ever logged one of the secrets.
///
/// # Errors
/// One did; it is not repeated.
pub fn ensure_unlogged(sites: &[TestSite], secrets: &[&str]) -> Result<()> {
    for site in sites {
        let log = site.log_text()?;
        let told = secrets.iter().any(|secret| log.contains(secret));
        ensure!(!told, "a secret is in the log of {}", site.name);
    }
    Ok(())
}

impl TestSite {
    /// Makes it know `other`.
    ///
    /// # Errors
    /// The site refuses.
    pub fn add_peer(&self, other: &Self) -> Result<()> {
        let mut command = Command::new(place::program("furoshiki-site")?);
        command.args(["site", "add", "--data"]).arg(&self.data);
        command.args([
            "--id",
            &other.id,
            "--name",
            &other.name,
            "--url",
            &other.url(),
        ]);
        child::output(&mut command).map(drop)
    }

    /// Issues a card to a new user and registers both here.
    ///
    /// # Errors
    /// Issuing or registering fails.
    pub fn add_user(&self, cards: &Path, name: &str, pin: &str, password: &str) -> Result<Person> {
        let (card, registration) = TestCard::issue(cards, name, pin)?;
        self.register(name, &registration, password)?;
        Ok(Person {
            name: name.to_owned(),
            password: password.to_owned(),
            card,
        })
    }

    /// Registers a user with a card that was issued.
    ///
    /// # Errors
    /// The site refuses.
    pub fn register(&self, name: &str, registration: &Path, password: &str) -> Result<()> {
        let mut command = Command::new(place::program("furoshiki-site")?);
        command
            .args(["user", "add", name, "--data"])
            .arg(&self.data);
        command.arg("--card").arg(registration);
        child::output_with_input(&mut command, &format!("{password}\n"))
            .with_context(|| format!("register {name}"))
            .map(drop)
    }

    /// Puts a release on it.
    ///
    /// # Errors
    /// The builder cannot publish.
    pub fn publish(&self, release: &Release) -> Result<()> {
        let mut command = self.command("furoshiki-builder")?;
        command
            .arg("publish")
            .arg(&release.folder)
            .args(["--site", &self.url(), "--site-ca"]);
        command
            .arg(&self.ca)
            .arg("--operator-token-file")
            .arg(self.data.join("operator.token"));
        child::output(&mut command).with_context(|| format!("publish at {}", self.name))?;
        Ok(())
    }

    /// Says yes in a policy.
    ///
    /// # Errors
    /// The site has no such policy.
    pub fn allow(&self, policy: &str) -> Result<()> {
        let mut command = Command::new(place::program("furoshiki-site")?);
        command
            .args(["policy", "set", policy, "yes", "--data"])
            .arg(&self.data);
        child::output(&mut command)
            .with_context(|| format!("allow {policy}"))
            .map(drop)
    }
}
