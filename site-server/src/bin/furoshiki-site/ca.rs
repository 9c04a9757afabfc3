//! Certificates and new sites: arguments, calls of the library, what is printed.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use site_server::{
    authority, join,
    store::{DatabaseConfig, Invitation, ObjectsConfig},
    tls,
};
use snapshot::id::SiteId;
use zeroize::Zeroizing;

#[derive(Args)]
pub(super) struct Invite {
    /// The data folder of this site.
    #[arg(long)]
    data: PathBuf,
    /// Folder of the CA that all sites share.
    #[arg(long, value_name = "CADIR")]
    ca: PathBuf,
    /// Name of the new site for people.
    #[arg(long)]
    name: String,
    /// Where it will be reached.
    #[arg(long)]
    url: String,
    /// Another host name or address for its certificate; may be given again.
    #[arg(long = "also-name", value_name = "HOST_OR_IP")]
    also_names: Vec<String>,
    /// How long the invitation stands.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

#[derive(Args)]
pub(super) struct Join {
    /// The data folder of the new site.
    #[arg(long)]
    data: PathBuf,
    /// URL of the site that invited.
    #[arg(long, value_name = "URL")]
    via: String,
    /// What `site invite` printed. It is good once; without this it is one line on standard input.
    #[arg(long)]
    token: Option<String>,
    /// Keep rows in this PostgreSQL database and not in the data folder: `postgres://USER@HOST/NAME`.
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// File with the password of that database; it is read at every start.
    #[arg(long, value_name = "FILE", requires = "postgres")]
    password_file: Option<PathBuf>,
    /// How long to wait for the operator there to sign.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
}

#[derive(Subcommand)]
pub(super) enum Ca {
    /// Makes a CA, or says which is there.
    Init {
        /// Its folder.
        #[arg(long, value_name = "CADIR")]
        ca: PathBuf,
    },
    /// Shows the CA and every certificate it issued.
    Show {
        /// Its folder.
        #[arg(long, value_name = "CADIR")]
        ca: PathBuf,
    },
    /// Writes site.pem, site.key and ca.pem for a site elsewhere.
    Issue {
        /// Folder of the CA.
        #[arg(long, value_name = "CADIR")]
        ca: PathBuf,
        /// Id of the site.
        #[arg(long)]
        id: SiteId,
        /// A host name or address of it; may be given again.
        #[arg(long = "name", value_name = "HOST_OR_IP", required = true)]
        names: Vec<String>,
        /// Folder for the three files.
        #[arg(long)]
        out: PathBuf,
    },
    /// Gives a site a new certificate with a new key, and the CAs it is to trust.
    Renew {
        /// Folder of the CA.
        #[arg(long, value_name = "CADIR")]
        ca: PathBuf,
        /// The site's data folder.
        #[arg(long)]
        data: PathBuf,
    },
    /// Takes back one certificate, or all of a site; every site refuses them as soon as it hears.
    Revoke {
        /// Folder of the CA.
        #[arg(long, value_name = "CADIR")]
        ca: PathBuf,
        /// Serial number of the certificate, as `ca show` lists it.
        #[arg(
            long,
            value_name = "HEX",
            conflicts_with = "site",
            required_unless_present = "site"
        )]
        serial: Option<String>,
        /// Every certificate of this site that was issued until now.
        #[arg(long, value_name = "ID")]
        site: Option<SiteId>,
        /// Data folder of the site that tells the others; without it, `ca publish` does that.
        #[arg(long)]
        data: Option<PathBuf>,
    },
    /// Gives a site the list of revoked certificates, and through it every other.
    Publish {
        /// crl.pem of the CA's folder.
        #[arg(long, value_name = "FILE")]
        crl: PathBuf,
        /// The site's data folder.
        #[arg(long)]
        data: PathBuf,
    },
    /// Makes a new CA in the place of the old one. Both are trusted until `--finish`; the new one signs.
    Rotate {
        /// Folder of the CA.
        #[arg(long, value_name = "CADIR")]
        ca: PathBuf,
        /// Every site has a certificate of the new CA: drop the old one.
        #[arg(long)]
        finish: bool,
    },
    /// Writes the certificates that sites and PCs are to trust.
    Bundle {
        /// Folder of the CA.
        #[arg(long, value_name = "CADIR")]
        ca: PathBuf,
        /// File for them.
        #[arg(long)]
        out: PathBuf,
    },
    /// Makes a site trust the CAs in a file, and no others.
    Trust {
        /// What `ca bundle` wrote.
        file: PathBuf,
        /// The site's data folder.
        #[arg(long)]
        data: PathBuf,
    },
}

pub(super) async fn invite(told: Invite) -> anyhow::Result<()> {
    // Before anybody is told to come: without the CA nobody could be let in.
    tls::Ca::load(&told.ca)?;
    let about = Invitation {
        name: told.name,
        url: told.url,
        also_names: told.also_names,
    };
    let lasts = Duration::from_secs(told.minutes.saturating_mul(60));
    let standing = join::invite(&told.data, about, lasts).await?;
    println!("token {}", *standing.token);
    println!(
        "at the new site: furoshiki-site join --data FOLDER --via THIS-SITE-URL --token TOKEN"
    );
    println!("waiting for it; this command signs its certificate");
    io::stdout().flush().context("print the token")?;
    join::admit(&told.data, &told.ca, &standing).await?;
    println!("site {} is in; every other site hears of it", standing.site);
    Ok(())
}

pub(super) async fn join(told: Join) -> anyhow::Result<()> {
    let token = match told.token {
        Some(token) => Zeroizing::new(token),
        None => crate::run::line("the token")?,
    };
    let made = join::join(&join::Join {
        data: told.data,
        via: told.via,
        token,
        database: DatabaseConfig {
            postgres: told.postgres,
            password_file: told.password_file,
        },
        objects: ObjectsConfig::default(),
        patience: Duration::from_secs(told.minutes.saturating_mul(60)),
    })
    .await?;
    println!("site {} ({}) at {}", made.site, made.name, made.url);
    Ok(())
}

pub(super) async fn run(told: Ca) -> anyhow::Result<()> {
    match told {
        Ca::Init { ca } => {
            tls::Ca::load_or_make(&ca)?;
            println!("CA in {}; keep the folder on no site", ca.display());
        }
        Ca::Show { ca } => {
            let ca = tls::Ca::load(&ca)?;
            print!("{}", ca.bundle()?);
            for issued in ca.issued()? {
                let site = issued
                    .site
                    .map_or_else(|| "-".to_owned(), |site| site.to_string());
                let state = if issued.revoked { "revoked" } else { "good" };
                println!("{} {site} {} {state}", issued.serial, issued.expires_s);
            }
        }
        Ca::Issue { ca, id, names, out } => {
            authority::issue(&ca, id, &names, &out)?;
            println!("certificate of site {id} in {}", out.display());
        }
        Ca::Renew { ca, data } => {
            let site = authority::renew(&ca, &data)?;
            println!("site {site} has a new certificate");
        }
        Ca::Revoke {
            ca,
            serial,
            site,
            data,
        } => {
            let what = match (serial, site) {
                (Some(serial), _) => tls::Revoke::Serial(serial),
                (None, Some(site)) => tls::Revoke::Site(site),
                (None, None) => anyhow::bail!("say --serial or --site"),
            };
            let list = tls::Ca::load(&ca)?.revoke(&what)?;
            match data {
                Some(data) => {
                    authority::publish(&data, &list, Some(&what)).await?;
                    println!("revoked; every site refuses it as soon as it hears");
                }
                None => println!(
                    "revoked in {}/crl.pem; ca publish tells the sites",
                    ca.display()
                ),
            }
        }
        Ca::Publish { crl, data } => {
            let list =
                std::fs::read_to_string(&crl).with_context(|| format!("read {}", crl.display()))?;
            authority::publish(&data, &list, None).await?;
            println!(
                "every site refuses what is in {} as soon as it hears",
                crl.display()
            );
        }
        Ca::Rotate { ca, finish } => {
            let now = tls::Ca::load(&ca)?;
            if finish {
                now.finish()?;
                println!(
                    "the old CA is gone; ca bundle and ca trust take it from every site and PC"
                );
            } else {
                now.rotate()?;
                println!(
                    "both CAs are in ca bundle; give it to every site (ca trust) and PC, then ca renew every site"
                );
            }
        }
        Ca::Bundle { ca, out } => {
            let bundle = tls::Ca::load(&ca)?.bundle()?;
            std::fs::write(&out, bundle).with_context(|| format!("write {}", out.display()))?;
        }
        Ca::Trust { file, data } => {
            let n = authority::trust(&data, &file)?;
            println!("{n} CAs are trusted");
        }
    }
    Ok(())
}
