//! The user's browser: a cookie jar and forms, no JavaScript.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::child;
use crate::place;
use crate::site::TestSite;

/// A browser at one site's portal.
#[derive(Debug)]
pub struct Portal {
    url: String,
    jar: TempDir,
}

impl Portal {
    /// Signs in with the form.
    ///
    /// # Errors
    /// The site refuses.
    pub fn sign_in(site: &TestSite, user: &str, password: &str) -> Result<Self> {
        let portal = Self {
            url: site.url(),
            jar: tempfile::tempdir().context("make a cookie jar")?,
        };
        // Every form carries the token of the page it stands on, the one for signing in too.
        let form = child::output(portal.curl().arg(format!("{}/", portal.url)))?;
        let csrf = field(&form, "csrf").context("the sign-in page has no csrf field")?;
        let fields = [("user", user), ("password", password), ("csrf", &csrf)];
        portal
            .post("/sign-in", &fields)
            .with_context(|| format!("sign {user} in at the portal"))?;
        let page = portal.environment()?;
        if !page.contains("/next-site") {
            bail!(
                "the portal did not sign {user} in: {}",
                child::tail(&page, 12)
            );
        }
        Ok(portal)
    }

    /// The page with the user's environment.
    ///
    /// # Errors
    /// The site refuses.
    pub fn environment(&self) -> Result<String> {
        child::output(self.curl().arg(format!("{}/environment", self.url)))
    }

    /// Chooses the next site with the form of [`Self::environment`].
    ///
    /// # Errors
    /// The form is not there, does not offer the site, or the site refuses.
    pub fn choose_next_site(&self, site: &TestSite) -> Result<()> {
        let page = self.environment()?;
        let csrf = field(&page, "csrf").context("the environment page has no csrf field")?;
        if !page.contains(&site.id) {
            bail!("the environment page does not offer site {}", site.name);
        }
        self.post("/next-site", &[("site", &site.id), ("csrf", &csrf)])
            .map(drop)
    }

    fn post(&self, path: &str, fields: &[(&str, &str)]) -> Result<String> {
        let mut command = self.curl();
        // The fields come from standard input: a password is in no command line.
        command
            .args(["--location", "--data", "@-"])
            .arg(format!("{}{path}", self.url));
        let body: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", encode(value)))
            .collect();
        child::output_with_input(&mut command, &body.join("&"))
    }

    fn curl(&self) -> Command {
        let jar: &Path = self.jar.path();
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--fail-with-body",
            "--max-time",
            "60",
            "--cacert",
        ]);
        command.arg(place::authority().join("ca.pem"));
        command
            .arg("--cookie")
            .arg(jar.join("jar"))
            .arg("--cookie-jar")
            .arg(jar.join("jar"));
        command
    }
}

/// The value of the first input with this name.
fn field(page: &str, name: &str) -> Option<String> {
    let mark = format!("name=\"{name}\"");
    let tag = page
        .split('<')
        .find(|tag| tag.starts_with("input") && tag.contains(&mark))?;
    let value = tag.split_once("value=\"")?.1;
    Some(value.split_once('"')?.0.to_owned())
}

/// application/x-www-form-urlencoded, everything escaped that is not plain.
fn encode(value: &str) -> String {
    value
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_from_a_form() {
        let page = r#"<form><input type="hidden" name="csrf" value="abc123"><input name="site" type="radio" value="9"></form>"#;
        assert_eq!(field(page, "csrf").as_deref(), Some("abc123"));
        assert_eq!(field(page, "site").as_deref(), Some("9"));
        assert_eq!(field(page, "user"), None);
    }

    #[test]
    fn a_password_with_odd_letters_is_escaped() {
        assert_eq!(encode("a b&c=ü"), "a%20b%26c%3D%C3%BC");
    }
}
